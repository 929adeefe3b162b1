"""Group relative policy optimization (arXiv:2402.03300) and its variants, by TRL (the rl extra).

The model answers every prompt several times, reward functions score the answers, and the answers
that are better than the mean of their group become more likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.methods.method import Method


class GrpoConfig(TrainConfig):
    """Options of `stage: grpo`."""

    generates_answers: ClassVar[bool] = True

    stage: Literal["grpo"] = setting(
        "grpo",
        label_zh="训练阶段",
        en="grpo: learn from the model's answers, scored by reward functions; needs the rl extra",
        zh="grpo：模型自行回答提示，由奖励函数评分；需要 rl 扩展",
        section="method",
        essential=True,
    )
    reward_funcs: str | list[str] = setting(
        label_zh="奖励函数",
        en="reward functions: accuracy, format, length, or my_rewards.py:name, which executes that "
        "file with your rights; or a list",
        zh="评分函数：accuracy、format、length 或 my_rewards.py:函数名（会以你的权限执行该文件）；"
        "也可以是列表",
        section="method",
        essential=True,
        min_length=1,
    )
    reward_weights: list[float] = setting(
        [],
        label_zh="奖励权重",
        en="weights of the reward functions; empty: all 1",
        zh="各奖励函数的权重；留空均为 1",
        section="method",
    )
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "rloo"] = setting(
        "dapo",
        label_zh="损失类型",
        en="how the loss is normalized: dapo by tokens, grpo by answer, dr_grpo by a constant, "
        "bnpo by batch; rloo is REINFORCE leave-one-out",
        zh="损失的归一方式：dapo 按 token、grpo 按回答、dr_grpo 按常数、bnpo 按批；"
        "rloo 为留一法 REINFORCE",
        section="method",
    )
    num_generations: int = setting(
        8,
        label_zh="每题回答数",
        en="answers generated for every prompt",
        zh="每个提示生成的回答数",
        section="method",
        essential=True,
        ge=2,
        limit=10_000,
    )
    max_completion_length: int = setting(
        256,
        label_zh="最大回答长度",
        en="maximum length of an answer in tokens",
        zh="回答的最大 token 数",
        section="method",
        essential=True,
        ge=1,
        limit=10_000_000,
    )
    temperature: float = setting(
        1.0,
        label_zh="采样温度",
        en="sampling temperature; higher values give more varied answers",
        zh="采样温度：回答的多样程度",
        section="method",
        gt=0,
        le=10,
    )
    top_p: float = setting(
        1.0,
        label_zh="核采样阈值",
        en="sample only from the most likely tokens whose total probability reaches this value",
        zh="只从累计概率达到此值的最可能 token 中采样",
        section="method",
        gt=0,
        le=1,
    )
    beta: float = setting(
        0.0,
        label_zh="KL 权重",
        en="weight of the KL divergence from the starting model; 0: no reference model",
        zh="与起始模型的 KL 散度权重；0 表示不用参考模型",
        section="method",
        ge=0,
        le=100,
    )
    epsilon: float = setting(
        0.2,
        label_zh="裁剪范围",
        en="clipping range of the probability ratio in one step",
        zh="每步概率比的裁剪范围",
        section="method",
        gt=0,
        lt=1,
    )

    @property
    def usual_micro_batch(self) -> int | None:
        """Return 8: TRL forms batches of answers, which the losses normalize differently."""
        return 8

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = as_list(self.reward_funcs)
        if self.reward_weights and len(self.reward_weights) != len(names):
            raise ValueError(
                text(
                    f"reward_weights: {counted(len(self.reward_weights), 'weight')} for "
                    f"{counted(len(names), 'function')}",
                    f"reward_weights：{len(names)} 个函数给了 {len(self.reward_weights)} 个权重",
                )
            )
        return self


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Encode the prompts with the generation prompt appended."""
    from swiftbox.core.data.encode import encode_prompts

    return list(encode_prompts(examples, tokenizer, config))


def reward_functions(config: Any) -> list[Any]:
    """Return the reward functions of a config; user files are loaded here."""
    from swiftbox.core.losses.reward_functions import load

    return [load(name) for name in as_list(config.reward_funcs)]


GRPO = Method(
    "grpo",
    GrpoConfig,
    True,
    encode,
    reward_functions=reward_functions,
    learning_rates=(1.0e-5, 1.0e-6),
)
