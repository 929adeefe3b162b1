"""Whether the rows of online training state solutions that the reward accuracy can compare with."""

from __future__ import annotations

from dataclasses import dataclass

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.data.example import Example
from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.models.requirements import WARNING, Remark
from swiftbox.tasks.checks import OnRemark
from swiftbox.tasks.usable_rows import UsableRows

ACCURACY = "accuracy"


def compares_answers(config: TrainConfig) -> bool:
    """Tell whether a training scores answers by comparing them with solutions."""
    return ACCURACY in as_list(config.model_dump().get("reward_funcs") or [])


@dataclass
class SolvedRows(UsableRows):
    """Counts the rows whose solution the reward accuracy cannot read, beside what is usable."""

    seen: int = 0
    unsolved: int = 0
    first_unsolved: str = ""

    def render(self, example: Example, place: str) -> int:
        """Render an example, and look for its solution as the reward does."""
        from swiftbox.core.losses.stated_answers import row_answer

        texts = super().render(example, place)
        self.seen += 1
        if row_answer(dict(example.columns)) is None:
            self.unsolved += 1
            self.first_unsolved = self.first_unsolved or place
        return texts

    def report(self, on_remark: OnRemark) -> None:
        """Remark on rows without a solution; raise DataError if accuracy can judge none."""
        if not self.unsolved:
            return
        names = as_list(self.config.model_dump()["reward_funcs"])
        hint = text(
            "write the answer into the column solution: 42, \\boxed{42} or #### 42",
            "请把答案写入 solution 列：42、\\boxed{42} 或 #### 42",
        )
        message = text(
            f"reward_funcs: accuracy finds no solution in {self.unsolved} of {self.seen} rows "
            f"(first: {self.first_unsolved}) and does not judge their answers",
            f"reward_funcs：{self.seen} 行中有 {self.unsolved} 行没有可用的标准答案"
            f"（首个：{self.first_unsolved}），accuracy 不评判这些行的回答",
        )
        if self.unsolved == self.seen and names == [ACCURACY]:
            raise DataError(message, hint=hint)
        on_remark(Remark(WARNING, "reward_funcs", message, hint))
