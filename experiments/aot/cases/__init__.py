"""What is compiled, for which machines, and what it must reach.

Files in import order:

case             a case, its bounds, and a program that can be traced
stencil_cases    `evolve` in every form
attention_cases  plain and evolved attention at three lengths
training_cases   training steps of Long Range Arena
sequence_cases   programs whose sequence is split over devices
llava_cases      capture of LLaVA-7B
catalog          all of them
"""

from experiments.aot.cases.case import Bound as Bound
from experiments.aot.cases.case import Case as Case
from experiments.aot.cases.case import Workload as Workload
