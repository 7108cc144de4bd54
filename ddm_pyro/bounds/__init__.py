"""Certificates: what a theorem guarantees about the distance between a sampler's law and the data law."""
