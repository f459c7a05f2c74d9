"""Configuration: one schema, one validator, for files, command lines, samples and saved runs.

Runs anywhere (PURE): no torch, no ray. Reading order: `experiment` (what a training is),
`commands` (what each command takes), `section` (what a field accepts), `validate` (the one
validating function, with `layers`, `problems` and `yaml_values` below it), `command_line`
(argv to a config), `help_text` (what `--help` prints), `errors`.
"""
