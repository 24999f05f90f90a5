"""How fast a model makes video and is trained on this machine."""
