"""How faithful a decoded volume is: PSNR, NRMSE, SSIM, Score, topology, theoretical compression."""

from inrv.metrics.comparison import (
    FrequentValue,
    GridComparison,
    PassthroughComparison,
    VolumeComparison,
    compare_volumes,
)
from inrv.metrics.figure import check_drawing, draw_comparison
from inrv.metrics.quality import GridMetrics, score, ssim_within

__all__ = [
    "FrequentValue",
    "GridComparison",
    "GridMetrics",
    "PassthroughComparison",
    "VolumeComparison",
    "check_drawing",
    "compare_volumes",
    "draw_comparison",
    "score",
    "ssim_within",
]
