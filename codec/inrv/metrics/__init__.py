"""How faithful a decoded volume is: PSNR, NRMSE, SSIM, Score, topology, theoretical compression."""

from inrv.metrics.comparison import GridComparison, VolumeComparison, compare_volumes
from inrv.metrics.figure import draw_comparison
from inrv.metrics.quality import GridMetrics, score, ssim_within

__all__ = ["GridComparison", "GridMetrics", "VolumeComparison", "compare_volumes", "draw_comparison", "score", "ssim_within"]
