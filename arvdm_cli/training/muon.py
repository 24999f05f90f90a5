"""Muon: an optimiser for matrices, in half precision where the machine multiplies it fast."""
