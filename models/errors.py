"""The one exception of this folder. PURE: imports nothing heavy."""


class ModelError(ValueError):
    """A model cannot be built as asked: unknown name, bad size, unusable weights.

    Attributes:
        problems: one complete sentence each, in the form
            `<field>: <rule>; got <value>. <remedy>`. `str()` gives one line a problem.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)
