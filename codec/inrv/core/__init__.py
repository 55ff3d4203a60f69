"""The C core: lattices and masks, decoded and coded by compiled code. Its source is codec/core/."""
