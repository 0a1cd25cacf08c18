"""Real Chromium for the pages: what it complains of fails the test that used it."""
