"""`exl2_worker.py`, the real one, with torch's CPU and the kernels of this folder in the place of a GPU."""

import runpy
import sys
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
sys.path[:0] = [str(HERE), str(ROOT)]

from tests.quantize_exl2.cuda_on_cpu.device import cpu_for_cuda  # noqa: E402

if __name__ == "__main__":
    with cpu_for_cuda():
        runpy.run_path(str(ROOT / "src/llmcourse/quantize_exl2/exl2_worker.py"), run_name="__main__")
