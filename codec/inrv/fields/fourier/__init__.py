"""The field `fourier`: one network for the volume, as in Zurkova et al. 2025."""
