"""Fuzzing: what comes from outside, taken apart by the code that is to take it, with an oracle beyond "no crash".

One module a target, with `examine` (takes any bytes; raises for what must not be) and `seeds` (sound inputs to begin
with). `replay` runs them without a fuzzer, in the ordinary test run; `drive` under atheris, guided by coverage:
`scripts/fuzz`. An input that has found something stays in `regressions/TARGET/`.
"""
