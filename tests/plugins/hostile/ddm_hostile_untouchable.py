"""Must not be imported when it is disabled or made for another core."""

import sys

sys.modules[__name__].__dict__["touched"] = True
raise AssertionError("this module must not be imported")
