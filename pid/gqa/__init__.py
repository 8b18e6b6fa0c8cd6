"""GQA: questions about images, and the six tasks of Zhang et al. drawn from them.

json_stream        reader of one large JSON object, entry by entry
question           questions: types, program, options, mentioned objects
task_filters       the six tasks as filters of the types; seeded samples of correctly answered questions
answer_statistics  entropy of the answers, and warnings if they are predictable without the image
published_samples  reader of the samples that Zhang et al. publish
source_files       the files of a GQA download, in folders or in archives
gqa_builder        TFDS builder: a table of questions, a table of images
prepared_tables    questions and images read from the tables that the builder has prepared
"""

import sys
from typing import Any

from pid.interface.deprecation import former_attribute
from pid.interface.extras import require_extra

require_extra("data", "pid.gqa", "tensorflow_datasets", "PIL")

from pid.gqa.answer_statistics import answer_diagnostics as answer_diagnostics
from pid.gqa.answer_statistics import entropy as entropy
from pid.gqa.gqa_builder import GQA as GQA
from pid.gqa.gqa_builder import IMAGES as IMAGES
from pid.gqa.gqa_builder import QUESTIONS as QUESTIONS
from pid.gqa.gqa_builder import GQAConfig as GQAConfig
from pid.gqa.prepared_tables import Images as Images
from pid.gqa.prepared_tables import questions as questions
from pid.gqa.published_samples import from_csv as from_csv
from pid.gqa.question import Mention as Mention
from pid.gqa.question import Question as Question
from pid.gqa.source_files import download_fingerprint as download_fingerprint
from pid.gqa.task_filters import TASKS as TASKS
from pid.gqa.task_filters import Task as Task
from pid.gqa.task_filters import is_correct as is_correct
from pid.gqa.task_filters import select as select
from pid.gqa.task_filters import task_of as task_of


def __getattr__(name: str) -> Any:
    """Resolve a former name, with a DeprecationWarning."""
    return former_attribute(sys.modules[__name__], name, {"doubts": "answer_diagnostics"})
