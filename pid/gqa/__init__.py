"""GQA: questions about images, and the six tasks of Zhang et al. drawn from them.

question   what a question is: types, program, options, mentioned objects
tasks      the six tasks as filters of the types; seeded samples, only what a model answered correctly
answers    how many bits they have and what gives them away, in plain sentences
published  the samples that Zhang et al. publish, from_csv
stream     the entries of a large JSON object, one at a time
download   the files of the download, extracted or in their archives
builder    GQA as a TFDS data set: a table of questions, a table of images
tables     the tables read back
"""

from pid.gqa.answer_statistics import doubts as doubts
from pid.gqa.answer_statistics import entropy as entropy
from pid.gqa.gqa_builder import GQA as GQA
from pid.gqa.gqa_builder import IMAGES as IMAGES
from pid.gqa.gqa_builder import QUESTIONS as QUESTIONS
from pid.gqa.gqa_builder import GQAConfig as GQAConfig
from pid.gqa.published_samples import from_csv as from_csv
from pid.gqa.question import Mention as Mention
from pid.gqa.question import Question as Question
from pid.gqa.readers import Images as Images
from pid.gqa.readers import questions as questions
from pid.gqa.task_filters import TASKS as TASKS
from pid.gqa.task_filters import Task as Task
from pid.gqa.task_filters import is_correct as is_correct
from pid.gqa.task_filters import select as select
from pid.gqa.task_filters import task_of as task_of
