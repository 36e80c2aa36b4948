"""Does a texture GAN help a policy on road surfaces that it has not seen?"""
