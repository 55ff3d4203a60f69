"""inrv: a compressed volume format and codec: OpenVDB grids as small neural networks."""
