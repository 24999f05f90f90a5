"""One generation: its settings, its saved state, its benchmark."""
