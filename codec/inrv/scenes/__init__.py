"""What other programs show of an .inrv file: .vdb files that they read, and scenes over them."""

from inrv.scenes.vdb_cache import VdbCache

__all__ = ["VdbCache"]
