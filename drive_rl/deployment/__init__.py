"""Out of the lab: policies as files, behind a server, and watched over while they work."""
