"""Video files <-> frames: the one place that knows that files hold uint8 (f, h, w, c)."""
