"""`noctis check`: what is not as it should be, in plain words, each with its fix."""
