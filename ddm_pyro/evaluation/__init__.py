"""One uniform evaluation: plans in, one row a metric out.

``evaluate(Plan.load("plan.toml"), out="runs/first")`` trains, samples and measures every combination that a plan names,
built-in or from a plugin, with everything that did not work as a row with its reason.
"""

from ddm_pyro.evaluation.errors import NotApplicable as NotApplicable
from ddm_pyro.evaluation.errors import PlanError as PlanError
from ddm_pyro.evaluation.errors import RowsError as RowsError
from ddm_pyro.evaluation.keys import SCHEMA_VERSION as SCHEMA_VERSION
from ddm_pyro.evaluation.plan import Experiment as Experiment
from ddm_pyro.evaluation.plan import Plan as Plan
from ddm_pyro.evaluation.plan import Ref as Ref
from ddm_pyro.evaluation.results import Results as Results
from ddm_pyro.evaluation.rows import ROW_FIELDS as ROW_FIELDS
from ddm_pyro.evaluation.rows import read_rows as read_rows
from ddm_pyro.evaluation.runner import evaluate as evaluate
from ddm_pyro.evaluation.session import Event as Event
from ddm_pyro.evaluation.validation import check_plan as check_plan
