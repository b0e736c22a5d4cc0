"""The rules of deploy/prometheus/rules as a PrometheusRule: `python -m tests.deploy.prometheus_rule` writes it anew.

The operator takes rules in its own kind alone, and kustomize cannot put a file into a manifest. So it is written from
the files that compose reads, and a test holds that it still says the same.
"""

import textwrap

from tests.deploy.sources import ROOT, RULES

PATH = ROOT / "deploy/kubernetes/components/prometheus-operator/prometheusrule.yaml"
_HEAD = """\
# Written by `python -m tests.deploy.prometheus_rule` from deploy/prometheus/rules; change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mos-guard
spec:
  groups:
"""


def manifest() -> str:
    """The groups of all rule files, comments and all."""
    groups = [path.read_text(encoding="utf-8").partition("\ngroups:\n")[2] for path in RULES]
    return _HEAD + textwrap.indent("\n".join(groups), "  ")


if __name__ == "__main__":
    PATH.write_text(manifest(), encoding="utf-8")
