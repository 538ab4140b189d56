"""Layers that are not unpacked: a layer's tar as it came, and an EROFS image that says where in it everything lies."""
