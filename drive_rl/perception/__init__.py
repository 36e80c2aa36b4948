"""Frames become what a driving policy needs: encoders, their pretraining, and their wrapper."""
