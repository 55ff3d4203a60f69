"""How faithful a decoded volume is: PSNR, NRMSE, SSIM, Score, topology, theoretical compression."""

from inrv.metrics.comparison import GridComparison, VolumeComparison, compare_volumes
from inrv.metrics.quality import GridMetrics, score, ssim_within

__all__ = ["GridComparison", "GridMetrics", "VolumeComparison", "compare_volumes", "score", "ssim_within"]
