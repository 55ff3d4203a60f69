"""Closed triangle meshes (T, 3, 3) float32 of made-up shapes, about 1 in radius, and their exact
signed distances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from inrv.fields.lattice.workshop.volumes.volume import noise, uniform

POINTS = 1 << 21  # that are measured at once


def octahedron() -> Tensor:
    """Eight faces."""
    corners = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)]
    faces = []
    for here, there in zip(corners, corners[1:] + corners[:1], strict=True):
        faces += [(here, there, (0.0, 0.0, 1.0)), (there, here, (0.0, 0.0, -1.0))]
    return torch.tensor(faces)


def ball(rings: int, bumps: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """A sphere of so many rings; `bumps` tells the radius from directions (..., 3)."""
    down = torch.linspace(0, math.pi, rings + 1)[:, None]
    round_about = torch.arange(2 * rings) * (math.pi / rings)
    points = torch.stack(
        torch.broadcast_tensors(
            down.sin() * round_about.cos(), down.sin() * round_about.sin(), down.cos()
        ),
        -1,
    )
    if bumps is not None:
        radius = bumps(points)
        radius[0], radius[-1] = radius[0, 0], radius[-1, 0]
        points = points * radius[..., None]
    return _sheet(points)


def bumpy(generator: torch.Generator, height: float) -> Callable[[Tensor], Tensor]:
    """Radii that noise moves in and out by so much."""
    volume = noise(generator, (24, 24, 24), 1.9, 0.8)[None, None]

    def radius(directions: Tensor) -> Tensor:
        at = directions.reshape(1, -1, 1, 1, 3) * 0.8
        found = functional.grid_sample(volume, at, align_corners=True)
        return 0.85 + height * found.reshape(directions.shape[:-1])

    return radius


def tube(turns: tuple[int, int], thickness: float, along: int = 160, about: int = 16) -> Tensor:
    """A closed tube: a ring, or a knot that winds (p, q) times around a torus."""
    p, q = turns
    angle = torch.arange(along) * (2 * math.pi / along)
    away = 0.65 + (0.25 if q else 0.0) * (q * angle).cos()
    middle = torch.stack([away * (p * angle).cos(), away * (p * angle).sin()], -1)
    middle = torch.cat([middle, (0.25 if q else 0.0) * (q * angle).sin()[:, None]], -1)
    ahead = functional.normalize(middle.roll(-1, 0) - middle.roll(1, 0), dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(ahead)
    side = functional.normalize(torch.linalg.cross(ahead, up), dim=-1)
    other = torch.linalg.cross(side, ahead)
    turn = (torch.arange(about) * (2 * math.pi / about))[:, None, None]
    points = middle + thickness * (turn.cos() * side + turn.sin() * other)
    return _sheet(torch.cat([points, points[:1]]))


def lathe(profile: Sequence[tuple[float, float]], about: int = 32) -> Tensor:
    """A profile of (radius, height) turned around z; its ends lie on the axis."""
    radius, height = torch.tensor(profile).unbind(-1)
    turn = torch.arange(about) * (2 * math.pi / about)
    points = torch.stack(
        torch.broadcast_tensors(
            radius[:, None] * turn.cos(), radius[:, None] * turn.sin(), height[:, None]
        ),
        -1,
    )
    return _sheet(points)


def extruded(outline: Tensor, height: float) -> Tensor:
    """An outline (N, 2), all of which its middle sees, as a plate of a height."""
    ends = []
    for z in (-height / 2, height / 2):
        ends.append(functional.pad(outline, (0, 1), value=z))
    middle = torch.zeros((1, len(outline), 3))
    low, high = middle - torch.tensor([0, 0, height / 2]), middle + torch.tensor([0, 0, height / 2])
    return _sheet(torch.cat([low, ends[0][None], ends[1][None], high]))


def star(points: int, inner: float) -> Tensor:
    """The outline of a star."""
    turn = torch.arange(2 * points) * (math.pi / points)
    radius = torch.where(torch.arange(2 * points) % 2 == 0, 1.0, inner)
    return torch.stack([radius * turn.cos(), radius * turn.sin()], -1)


def gear(teeth: int) -> Tensor:
    """The outline of a toothed wheel."""
    shares = torch.tensor([0.0, 0.28, 0.36, 0.64, 0.72, 1.0])[:-1]
    turn = ((torch.arange(teeth)[:, None] + shares) * (2 * math.pi / teeth)).flatten()
    radius = torch.tensor([0.8, 0.8, 1.0, 1.0, 0.8]).repeat(teeth)
    return torch.stack([radius * turn.cos(), radius * turn.sin()], -1)


def brick(x: float, y: float, z: float) -> Tensor:
    """A box of such edges."""
    square = torch.tensor([(-x, -y), (x, -y), (x, y), (-x, y)]) / 2
    return extruded(square, z)


def terrain(generator: torch.Generator, cells: int, slope: float) -> Tensor:
    """A block whose top is hilly: cells^2 squares of two triangles each."""
    heights = 0.28 * noise(generator, (cells + 1, cells + 1), slope).clamp(-2.4, 2.4)
    steps = torch.linspace(-0.9, 0.9, cells + 1)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    top = torch.stack([x, y, heights], -1)
    bottom = torch.stack([x, y, torch.full_like(x, -0.95)], -1)
    return torch.cat([_grid(top), _grid(bottom), *_walls(top, bottom)])


def crystal(generator: torch.Generator, count: int) -> Tensor:
    """Several prisms that grow from one place."""
    parts = []
    for _ in range(count):
        turn = torch.linalg.qr(torch.randn((3, 3), generator=generator))[0]
        width = uniform(generator, 0.1, 0.22)
        sides = torch.arange(6) * (math.pi / 3)
        outline = width * torch.stack([sides.cos(), sides.sin()], -1)
        shaft = functional.pad(outline, (0, 1), value=0.6)
        foot = functional.pad(outline, (0, 1), value=-0.1)
        tip, end = torch.tensor([[0.0, 0, 0.95]]), torch.tensor([[0.0, 0, -0.1]])
        points = torch.stack([end.expand(6, 3), foot, shaft, tip.expand(6, 3)])
        parts.append(_sheet(points) @ turn.T)
    return torch.cat(parts)


def turned(generator: torch.Generator, mesh: Tensor) -> Tensor:
    """The mesh in another position."""
    turn: Tensor = torch.linalg.qr(torch.randn((3, 3), generator=generator))[0]
    return mesh @ turn.T


def placed(mesh: Tensor, shape: tuple[int, int, int], margin: float = 5.0) -> Tensor:
    """The mesh in voxels, as large as the box allows with a margin around it."""
    low, high = mesh.flatten(0, 1).amin(0), mesh.flatten(0, 1).amax(0)
    room = torch.tensor(shape) - 2 * margin
    scale = float((room / (high - low)).min())
    # Corners that lie on whole voxels would be hit twice by the rays that tell inside from outside.
    off = torch.tensor([0.0137, 0.0219, 0.0071])
    return (mesh - (low + high) / 2) * scale + torch.tensor(shape) / 2 + off


def signed_distance(parts: Sequence[Tensor], shape: tuple[int, int, int], band: float) -> Tensor:
    """Signed distance (X, Y, Z) in voxels to the union of closed meshes in voxels, exact up to
    `band` where only one is near, and band beyond.
    """
    result = torch.full(shape, band)
    for mesh in parts:
        distance = _distance(mesh, shape, band)
        result = torch.minimum(result, torch.where(_inside(mesh, shape), -distance, distance))
    return result


def _distance(mesh: Tensor, shape: tuple[int, int, int], band: float) -> Tensor:
    result = torch.full((math.prod(shape),), band)
    edges = torch.tensor(shape)
    low = (mesh.amin(1) - band).floor().long()
    high = (mesh.amax(1) + band).ceil().long()
    for rows, window in _windows(high - low + 1):
        corner, triangles = low[rows], mesh[rows]
        at = corner[:, None] + window
        within = ((at >= 0) & (at < edges)).all(-1)
        away = _to_triangles(at.float(), triangles)
        wanted = within & (away < band)
        x, y, z = at[wanted].unbind(-1)
        places = (x * shape[1] + y) * shape[2] + z
        result.scatter_reduce_(0, places, away[wanted], "amin")
    return result.reshape(shape)


def _windows(sizes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of equal size, rounded up, and the offsets (N, D) of their windows."""
    rounded = (sizes + 3) // 4 * 4
    for size in rounded.unique(dim=0):
        axes = [torch.arange(int(n)) for n in size]
        window = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        rows = (rounded == size).all(-1).nonzero()[:, 0]
        for part in rows.split(max(1, POINTS // len(window))):
            yield part, window


def _to_triangles(at: Tensor, triangles: Tensor) -> Tensor:
    """Distances (T, N) of points (T, N, 3) to triangles (T, 3, 3)."""
    normal = torch.linalg.cross(
        triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    )
    length = normal.square().sum(-1).clamp_min(1e-12)
    over = torch.ones(at.shape[:2], dtype=torch.bool)
    nearest = torch.full(at.shape[:2], torch.inf)
    for first in range(3):
        start, end = triangles[:, first], triangles[:, (first + 1) % 3]
        edge, way = (end - start)[:, None], at - start[:, None]
        share = (way * edge).sum(-1) / edge.square().sum(-1).clamp_min(1e-12)
        away = (way - share.clamp(0, 1)[..., None] * edge).square().sum(-1)
        nearest = torch.minimum(nearest, away)
        inward = torch.linalg.cross(normal, end - start)[:, None]
        over &= (way * inward).sum(-1) >= 0
    plane = ((at - triangles[:, :1]) * normal[:, None]).sum(-1).square() / length[:, None]
    flat = (length > 1e-10)[:, None]
    return torch.where(over & flat, plane, nearest).sqrt()


def _inside(mesh: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Which voxels (X, Y, Z) are within a closed mesh: how often a ray upwards crosses it."""
    crossings = torch.zeros((shape[0], shape[1], shape[2] + 1), dtype=torch.int32)
    flat = mesh[..., :2]
    low, high = flat.amin(1).floor().long(), flat.amax(1).ceil().long()
    edges = torch.tensor(shape[:2])
    for rows, window in _windows(high - low + 1):
        a, b, c = mesh[rows].unbind(1)
        at = low[rows][:, None] + window
        way, first, second = at - a[:, None, :2], (b - a)[:, None], (c - a)[:, None]
        area = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        area = torch.where(area == 0, torch.inf, area)
        u = (way[..., 0] * second[..., 1] - way[..., 1] * second[..., 0]) / area
        v = (first[..., 0] * way[..., 1] - first[..., 1] * way[..., 0]) / area
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & torch.isfinite(area)
        hit &= ((at >= 0) & (at < edges)).all(-1)
        height = a[:, None, 2] + u * first[..., 2] + v * second[..., 2]
        x, y = at[hit].unbind(-1)
        z = height[hit].ceil().long().clamp(0, shape[2])
        crossings.index_put_((x, y, z), torch.ones(len(x), dtype=torch.int32), accumulate=True)
    return crossings.cumsum(-1)[..., :-1] % 2 == 1


def _sheet(points: Tensor) -> Tensor:
    """Triangles of a grid (N, M, 3) whose second axis closes upon itself."""
    return _grid(torch.cat([points, points[:, :1]], 1))


def _grid(points: Tensor) -> Tensor:
    """Two triangles for each square of a grid (N, M, 3)."""
    a, b, c, d = points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]
    return torch.cat([torch.stack([a, b, c], -2), torch.stack([a, c, d], -2)]).flatten(0, 1)


def _walls(top: Tensor, bottom: Tensor) -> list[Tensor]:
    """Triangles between the four edges of two sheets (N, M, 3)."""
    both = torch.stack([bottom, top])
    return [_grid(edge) for edge in (both[:, 0], both[:, -1], both[:, :, 0], both[:, :, -1])]
