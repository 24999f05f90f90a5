"""Recorded episodes as what models are measured on."""
