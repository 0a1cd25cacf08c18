"""Real faults on a really supervised Noctis: each a row of one table (`scripts/faults`), and a test in short form."""
