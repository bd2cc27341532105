"""Where figures go beside the result's folder: the model's repository, a gist, a leaderboard."""

from llmcourse.autoeval.publishing.checks import look_up, publish_checks
from llmcourse.autoeval.publishing.everywhere import publish

__all__ = ["look_up", "publish", "publish_checks"]
