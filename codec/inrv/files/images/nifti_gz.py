"""NIfTI files that are compressed by gzip (.nii.gz)."""

from __future__ import annotations

from inrv.files.images.nifti import NiftiFiles

FILE_TYPE = NiftiFiles(packed=True)
