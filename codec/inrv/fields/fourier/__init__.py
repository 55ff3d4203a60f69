"""The field `fourier`: one network for the volume.

Source: Zurkova et al. 2025, "Accelerated Volumetric Compression without Hierarchies".
"""
