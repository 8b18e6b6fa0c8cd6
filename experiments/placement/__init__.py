"""Where to add diffusion: a layer at one place of a Transformer after another, against the baseline and controls."""

from experiments.placement.config import Config as Config
from experiments.placement.config import Mesh as Mesh
from experiments.placement.presets import PRESETS as PRESETS
from experiments.placement.presets import command_line as command_line
from experiments.placement.program import main as main
