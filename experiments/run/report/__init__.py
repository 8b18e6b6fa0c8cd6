"""Results as text: differences with their intervals, and tables.

Files in import order:

paired       differences between two models on the same test examples, with intervals
claim_lines  a claim, its measurement and the verdict; numbers paired by seed
tables       cells of text, formatted numbers, and printing on lines of any length
"""

from experiments.run.report.tables import Layout as Layout
from experiments.run.report.tables import Table as Table
from experiments.run.report.tables import interval as interval
from experiments.run.report.tables import lay_out_table as lay_out_table
from experiments.run.report.tables import number as number
from experiments.run.report.tables import percent as percent
from experiments.run.report.tables import show as show
