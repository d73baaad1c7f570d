"""Ring 2: links, listeners and the relay; with ``testing`` the only folder that imports anyio."""
