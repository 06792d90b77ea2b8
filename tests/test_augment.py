"`mylib.augment` against torchvision and SciPy, the algebra of its points, the ranges of its draws, and the Learner around it."
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.augment import (BatchResize, BatchTransformCB, Geometric, Geometry, RandomAffine, RandomDihedral, RandomErasing, RandomFlip, RandomLighting,
                           RandomResizedCrop, RandomWarp, affine_matrix, aug_transforms, homography_grid, lighting_matrix, perspective_matrix, warp_images,
                           warp_points, _reduction)
from mylib.checkpoint import CheckpointCB
from mylib.core import set_seed
from mylib.datablock import IntToFloat, Normalize, Pipeline, TfmdDL
from mylib.dataloader import DataLoader, DataLoaders
from mylib.learner import Callback, Learner
from mylib.losses import cross_entropy
from peers import or_skip, torchvision
from scipy import ndimage
from torch import nn
from torch.testing import assert_close

CPU = torch.device('cpu')
SQUARE = torch.tensor([[-1., -1], [1, -1], [1, 1], [-1, 1]])
seeds = st.integers(0, 9999)
sides = st.integers(5, 24)


@pytest.fixture(scope='module')
def tv(): return or_skip(torchvision).transforms.v2


def picture(seed, h, w, n=2, c=3, **kwargs): return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed), **kwargs)


def homographies(seed, n, size=0.3):
    there = SQUARE + (torch.rand(n, 4, 2, generator=torch.Generator().manual_seed(seed)) - 0.5)*2*size
    return perspective_matrix(SQUARE, there), there


def near(a, b, tol=1e-4): assert_close(a, b, atol=tol, rtol=0)


def corners_of(H):
    p = torch.cat([SQUARE, torch.ones(4, 1)], 1) @ H.mT
    return p[..., :2]/p[..., 2:]


def identity(h, w): return homography_grid(torch.eye(3)[None], h, w)


# --- the matrices and the one sampling

@settings(deadline=None, max_examples=60)
@given(sides, sides, st.floats(-180, 180), st.floats(0.5, 2), st.floats(-40, 40), st.integers(-4, 4), st.integers(-4, 4), seeds)
def test_affine_is_torchvisions(tv, h, w, rotate, zoom, shear, dx, dy, seed):
    x = picture(seed, h, w)
    H = affine_matrix(rotate, zoom, shear, dx/w, dy/h, aspect=w/h)
    theirs = tv.functional.affine(x, rotate, [dx, dy], zoom, [shear, 0.], interpolation=tv.InterpolationMode.BILINEAR)
    near(warp_images(x, H, pad_mode='zeros'), theirs, 1e-3)


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(0.3, 3), st.floats(-60, 60), st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=4), st.floats(0.3, 3))
def test_affine_matrix_of_many_is_each(rows, aspect):
    columns = torch.tensor(rows).T
    assert_close(affine_matrix(*columns, aspect=aspect), torch.cat([affine_matrix(*r, aspect=aspect) for r in rows]))


@settings(deadline=None, max_examples=40)
@given(sides, sides, seeds)
def test_perspective_is_torchvisions(tv, h, w, seed):
    x, (H, there) = picture(seed, h, w, n=1), homographies(seed, 1)
    pixels = lambda p: ((p + 1)*torch.tensor([w, h])/2).tolist()
    theirs = tv.functional.perspective(x, pixels(there[0]), pixels(SQUARE), interpolation=tv.InterpolationMode.BILINEAR)
    near(warp_images(x, H, pad_mode='zeros'), theirs, 2e-3)


@settings(deadline=None, max_examples=40)
@given(sides, sides, sides, sides, st.sampled_from([('border', 'nearest'), ('reflection', 'reflect'), ('zeros', 'grid-constant')]), seeds)
def test_sampling_is_scipys(h, w, h2, w2, modes, seed):
    x, (H, _) = picture(seed, h, w, n=1, c=1), homographies(seed, 1)
    p = homography_grid(H, h2, w2)[0].double()
    at = [((p[..., i] + 1)*s/2 - 0.5).numpy() for i, s in ((1, h), (0, w))]
    if h2*w2*16 < h*w: return  # here ours would first shrink
    grid = homography_grid(H, h2, w2)
    ours = torch.nn.functional.grid_sample(x, grid, padding_mode=modes[0], align_corners=False)
    near(ours[0, 0].double(), torch.from_numpy(ndimage.map_coordinates(x[0, 0].double().numpy(), at, order=1, mode=modes[1])), 1e-3)
    if h2*w2 >= h*w: near(warp_images(x, H, (h2, w2), pad_mode=modes[0]), ours, 1e-6)


@given(sides, sides, seeds)
def test_affine_transform_of_scipy(h, w, seed):
    g = np.random.default_rng(seed)
    r, z = g.uniform(-180, 180), g.uniform(0.7, 1.5)
    back = np.linalg.inv(z*np.array([[np.cos(np.deg2rad(r)), -np.sin(np.deg2rad(r))], [np.sin(np.deg2rad(r)), np.cos(np.deg2rad(r))]]))[::-1, ::-1]
    x, centre = picture(seed, h, w, n=1, c=1), np.array([h - 1, w - 1])/2
    theirs = ndimage.affine_transform(x[0, 0].double().numpy(), back, centre - back @ centre, order=1, mode='nearest')
    near(warp_images(x, affine_matrix(r, z, aspect=w/h), pad_mode='border')[0, 0].double(), torch.from_numpy(theirs), 1e-3)


@given(sides, seeds)
def test_quarter_turns_and_flips_are_exact(s, seed):
    x = picture(seed, s, s)
    for k in range(-4, 5): near(warp_images(x, affine_matrix(90.*k)), x.rot90(-k, (2, 3)))
    near(warp_images(x, torch.diag(torch.tensor([-1., 1, 1]))[None]), x.flip(-1))
    near(warp_images(x, torch.diag(torch.tensor([1., -1, 1]))[None]), x.flip(-2))
    near(RandomFlip(p=1)((x, None))[0], x.flip(-1))
    near(RandomFlip(p=1, vertical=True)((x, None))[0], x.flip(-2))


@given(st.integers(1, 5), seeds)
def test_eight_equations(n, seed):
    H, there = homographies(seed, n)
    near(warp_points(there, H), SQUARE.expand(n, 4, 2), 1e-4)
    near(corners_of(H), there, 1e-4)
    both = perspective_matrix(there, SQUARE) @ H
    near(both/both[:, 2:, 2:], torch.eye(3).expand(n, 3, 3), 1e-3)
    near(H, torch.cat([perspective_matrix(SQUARE, t) for t in there]), 1e-5)
    with pytest.raises(torch.linalg.LinAlgError): perspective_matrix(SQUARE*torch.tensor([1., 0]), SQUARE)


@given(sides, sides, st.integers(1, 4), seeds)
def test_points_land_where_the_grid_fetches(h, w, n, seed):
    H, _ = homographies(seed, n)
    grid = homography_grid(H, h, w)
    near(warp_points(grid.flatten(1, 2), H), identity(h, w).flatten(1, 2).expand(n, -1, -1), 1e-3)


def test_shrinking_is_antialiased_but_for_close_ups():
    y, x = torch.meshgrid(torch.arange(200.), torch.arange(200.), indexing='ij')
    stripes = (((x + y) % 2)*1.)[None, None]
    near(warp_images(stripes, torch.eye(3)[None], (40, 40)), torch.full((1, 1, 40, 40), 0.5), 0.05)
    near(warp_images(stripes, torch.eye(3)[None], (40, 40), mode='nearest').unique(), torch.tensor([0., 1.]), 0)
    both = warp_images(stripes.expand(2, -1, -1, -1), affine_matrix(0, torch.tensor([1., 5.])), (40, 40))
    near(both[1], stripes[0, :, 80:120, 80:120], 1e-3)
    far = perspective_matrix(SQUARE, SQUARE*2.5)  # the same reduction, half through the matrix and half through the size
    near(warp_images(stripes, far, (100, 100))[..., 40:60, 40:60], torch.full((1, 1, 20, 20), 0.5), 0.05)
    shifted = torch.tensor([[1., 0, 0.3], [0, 1, 0], [0, 0, 1]])[None]
    near(warp_images(stripes, shifted @ far, (100, 100))[..., 40:60, 40:60], torch.full((1, 1, 20, 20), 0.5), 0.05)


@given(st.integers(20, 60), st.integers(20, 60), st.integers(20, 60), st.integers(20, 60), seeds)
def test_reduction_is_the_area_at_the_centre(h, w, h2, w2, seed):
    H = homographies(seed, 3)[0].double()*1.7  # the same map
    p = torch.tensor([[0., 0, 1], [1e-4, 0, 1], [0, 1e-4, 1]], dtype=torch.float64) @ H.mT
    p = p[..., :2]/p[..., 2:]*torch.tensor([w/2, h/2])  # in input pixels
    right, down = (p[:, 1] - p[:, 0])/1e-4/(w2/2), (p[:, 2] - p[:, 0])/1e-4/(h2/2)  # per output pixel
    area = (right[:, 0]*down[:, 1] - right[:, 1]*down[:, 0]).abs()
    assert math.isclose(_reduction(H, (h, w), (h2, w2)), area.min()**0.5, rel_tol=1e-2)


@pytest.mark.parametrize('mode', ['bilinear', 'nearest', 'bicubic'])
def test_dtypes_and_ranges(mode):
    x, (H, _) = picture(1, 12, 14), homographies(1, 2)
    assert warp_images(x.double(), H, mode=mode).dtype == torch.float64
    bytes_ = (x*255).byte()
    near(warp_images(bytes_, H, mode=mode), warp_images(bytes_.float()/255, H, mode=mode), 1e-6)
    out = warp_images((x > 0.5).float(), H, mode=mode)
    assert 0 <= out.min() and out.max() <= 1
    assert not warp_images(x, H.requires_grad_(False)).requires_grad


# --- the draws

GEOMETRIC = [RandomFlip(), RandomFlip(vertical=True), RandomDihedral(), RandomAffine(20, 0.8, 1.2, 10, 0.1), RandomWarp(), RandomResizedCrop(16)]


@pytest.mark.parametrize('tfm', [*GEOMETRIC, Geometry(GEOMETRIC), RandomLighting(0.3, 0.3), RandomLighting(0.3, 0.3, space='linear'), RandomErasing()],
                         ids=lambda t: type(t).__name__)
def test_seed_items_and_labels(tfm):
    x, y = picture(1, 24, 24, n=1).expand(40, -1, -1, -1), torch.arange(40)
    before = x.clone()
    set_seed(3); a, ya = tfm((x, y))
    set_seed(3); b, _ = tfm([x, y])
    c, _ = tfm((x, y))
    assert torch.equal(a, b) and not torch.equal(a, c) and ya is y and torch.equal(x, before)
    assert len({im.numpy().tobytes() for im in a}) > 1  # each item has its own draw
    assert tfm.train_only and 0 <= a.min() and a.max() <= 1


@pytest.mark.parametrize('make', [RandomFlip, RandomDihedral, RandomAffine, RandomWarp, lambda p: RandomResizedCrop(8, p=p)])
@pytest.mark.parametrize('p', [0., 0.3, 1.])
def test_share_left_alone(make, p):
    set_seed(1)
    H = make(p=p).matrices(3000, 10, 10, CPU)
    same = (H - torch.eye(3)).abs().amax((1, 2)) < 1e-6
    expected = 1 - p*(7/8 if make is RandomDihedral else 1)
    assert abs(same.float().mean() - expected) < 0.03


@pytest.mark.parametrize('h,w', [(50, 50), (30, 90)])
def test_affine_draws_fill_their_ranges(h, w):
    set_seed(2)
    pixels = torch.diag(torch.tensor([w/2, h/2, 1]))
    def moves(**kw): return torch.linalg.inv(pixels @ RandomAffine(**kw, p=1).matrices(4000, h, w, CPU) @ torch.linalg.inv(pixels))
    def spans(v, low, high, tol):
        assert low - 1e-3 <= v.min() < low + tol and high - tol < v.max() <= high + 1e-3 and abs(v.mean() - (low + high)/2) < tol
    M = moves(max_rotate=30, min_zoom=0.5, max_zoom=1.5)
    spans(torch.atan2(M[:, 1, 0], M[:, 0, 0]).rad2deg(), -30, 30, 1)
    spans(torch.linalg.det(M[:, :2, :2])**0.5, 0.5, 1.5, 0.03)
    near(M[:, :2, :2] @ M[:, :2, :2].mT/torch.linalg.det(M[:, :2, :2])[:, None, None], torch.eye(2).expand(4000, 2, 2), 1e-3)  # a rotation in pixels
    M = moves(max_rotate=0, max_zoom=1, max_shear=20, max_translate=0.2)
    spans((-M[:, 0, 1]).atan().rad2deg(), -20, 20, 1)
    spans(M[:, 0, 2]/w, -0.2, 0.2, 0.01)
    spans(M[:, 1, 2]/h, -0.2, 0.2, 0.01)
    assert abs(torch.corrcoef(torch.stack([M[:, 0, 2], M[:, 1, 2], M[:, 0, 1]])) - torch.eye(3)).max() < 0.06
    near(M[:, 1, :2], torch.tensor([[0., 1]]).expand(4000, 2), 1e-3)
    M = moves(max_rotate=30, max_shear=20)
    angle = torch.atan2(M[:, 1, 0], M[:, 0, 0])
    R = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    upright = R.mT @ M[:, :2, :2]
    near(upright[:, 1, 0], torch.zeros(4000), 1e-3)
    assert abs(torch.corrcoef(torch.stack([angle, upright[:, 0, 1]/upright[:, 0, 0]]))[0, 1]) < 0.06


@given(st.floats(1, 2), st.floats(1, 2), seeds)
def test_zooming_in_stays_inside_and_reaches_the_edge(a, b, seed):
    set_seed(seed)
    low, high = sorted((a, b))
    edge = corners_of(RandomAffine(0, low, high, p=1).matrices(500, 9, 9, CPU))
    assert edge.abs().max() <= 1 + 1e-5 and edge.min() < -0.97 and edge.max() > 0.97


def test_warp_draws():
    set_seed(3)
    H = RandomWarp(0.3, p=1).matrices(3000, 9, 9, CPU)
    p = corners_of(H)
    top, bottom, left, right = (p[:, 1, 0] - p[:, 0, 0])/2, (p[:, 2, 0] - p[:, 3, 0])/2, (p[:, 3, 1] - p[:, 0, 1])/2, (p[:, 2, 1] - p[:, 1, 1])/2
    near(top + bottom, torch.full((3000,), 2.), 1e-3)
    near(left + right, torch.full((3000,), 2.), 1e-3)
    for v in (top, left):
        assert 0.7 - 1e-3 < v.min() < 0.71 and 1.29 < v.max() < 1.3 + 1e-3
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.06


@given(st.integers(10, 60), st.integers(10, 60), seeds)
def test_crop_draws(h, w, seed):
    set_seed(seed)
    H = RandomResizedCrop((12, 20), 0.2, 0.6, ratio=(0.9, 1.1)).matrices(800, h, w, CPU)
    assert corners_of(H).abs().max() <= 1 + 1e-5
    sx, sy = H[:, 0, 0], H[:, 1, 1]
    whole = (sx < 0.999) & (sy < 0.999)  # those that fit
    area, shape = (sx*sy)[whole], (sx*w/sy/h)[whole]
    if whole.all(): assert 0.2 - 1e-3 < area.min() < 0.23 and 0.57 < area.max() < 0.6 + 1e-3
    if len(shape) > 500: assert 0.9 - 1e-3 < shape.min() < 0.91 and 1.09 < shape.max() < 1.1 + 1e-3
    lone = whole & (sx < 0.9)
    if lone.sum() > 300: assert (H[lone, 0, 2]/(1 - sx[lone])).min() < -0.95 and (H[lone, 0, 2]/(1 - sx[lone])).max() > 0.95


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 20), st.integers(8, 20), seeds)
def test_crop_pixels_are_torchvisions(tv, h, w, seed):
    g = np.random.default_rng(seed)
    ch, cw = g.integers(3, h), g.integers(3, w)
    top, left = g.integers(0, h - ch), g.integers(0, w - cw)
    x, size = picture(seed, h, w), (h + 3, w + 1)
    H = torch.tensor([[cw/w, 0, (2*left + cw)/w - 1], [0, ch/h, (2*top + ch)/h - 1], [0, 0, 1]], dtype=torch.float32)[None]
    theirs = tv.functional.resized_crop(x, top, left, ch, cw, size, antialias=False)
    inside = lambda t: t[..., 4:-4, 4:-4]  # theirs does not see beyond the crop
    assert theirs.shape == warp_images(x, H, size).shape
    if ch > 6 and cw > 6: near(inside(warp_images(x, H, size)), inside(theirs), 1e-3)


def test_dihedral_is_all_eight():
    set_seed(1)
    x = picture(1, 7, 7, n=1, c=1)
    out = RandomDihedral()((x.expand(800, -1, -1, -1), None))[0]
    tiles = torch.stack([t.rot90(k, (2, 3)) for t in (x, x.flip(-1)) for k in range(4)])
    which = ((out - tiles).abs().amax((2, 3, 4)) < 1e-4)
    assert (which.sum(0) == 1).all() and (which.sum(1) > 60).all()


# --- composition and targets

@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from([RandomFlip(), RandomAffine(40, 0.7, 1.3, 20, 0.2), RandomWarp(0.3), RandomResizedCrop((20, 50), 0.3), RandomResizedCrop((18, 12), 0.3)]), max_size=4), seeds)
def test_one_step_is_all_steps(tfms, seed):
    x, points = picture(seed, 24, 36, n=4), torch.rand(4, 5, 2)*2 - 1
    geometry = Geometry(tfms, target='points')
    set_seed(seed); one = geometry((x, points))
    set_seed(seed)
    many, size = points, (24, 36)
    for t in tfms:
        many = warp_points(many, t.matrices(4, *size, CPU))
        size = t.size or size
    near(one[1], many, 1e-3)
    assert one[0].shape[2:] == size
    set_seed(seed); near(one[0], warp_images(x, geometry.matrices(4, 24, 36, CPU), size), 0)


def test_order_of_the_product():
    class Fixed(Geometric):
        def __init__(self, *args): super().__init__(); self.args = args
        def draw(self, n, h, w, device): return affine_matrix(*self.args).expand(n, 3, 3)
    centre = torch.zeros(1, 1, 2)
    x = picture(1, 8, 8, n=1)
    turn, shift = Fixed(90), Fixed(0, 1, 0, 0.25)
    near(Geometry([shift, turn], target='points')((x, centre))[1], torch.tensor([[[0., 0.5]]]), 1e-5)  # first to the right, then clockwise: down
    near(Geometry([turn, shift], target='points')((x, centre))[1], torch.tensor([[[0.5, 0.]]]), 1e-5)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(['reflection', 'border', 'zeros']), st.sampled_from([None, (10, 30)]), seeds)
def test_masks_move_with_the_pictures(pad_mode, size, seed):
    mask = torch.randint(0, 7, (3, 20, 30), generator=torch.Generator().manual_seed(seed))
    kw = dict(size=size, pad_mode=pad_mode, mode='nearest')
    tfms = [RandomFlip(), RandomAffine(30), RandomWarp()]
    set_seed(seed); x, moved = Geometry(tfms, target='mask', **kw)((mask[:, None].float(), mask))
    assert moved.dtype == mask.dtype and torch.equal(x[:, 0].long(), moved)
    set_seed(seed); _, same = Geometry(tfms, **kw)((mask[:, None].float(), mask))
    assert same is mask


def test_a_blob_and_its_point():
    set_seed(4)
    centre = torch.tensor([[0.2, -0.3]])
    at = identity(80, 100)[0]
    blob = torch.exp(-((at - centre)*torch.tensor([100, 80])/8).square().sum(-1)).expand(20, 1, 80, 100)
    tfms = Geometry([RandomFlip(), RandomAffine(20, 0.9, 1.1, 5, p=1), RandomWarp(0.2, p=1)], size=(60, 90), target='points', pad_mode='zeros')
    x, points = tfms((blob, centre.expand(20, 1, 2)))
    found = (homography_grid(torch.eye(3)[None], 60, 90)*x[:, 0, ..., None]).sum((1, 2))/x.sum((1, 2, 3))[:, None]
    near(found, points[:, 0], 0.02)


# --- sizes, light, erasing

@settings(deadline=None, max_examples=20)
@given(sides, sides, sides, sides, seeds)
def test_batch_resize(tv, h, w, h2, w2, seed):
    x, mask = picture(seed, h, w), torch.randint(0, 2, (2, h, w))*4  # nothing in between may appear
    out, m = BatchResize((h2, w2), target='mask')((x, mask))
    near(out, tv.functional.resize(x, [h2, w2], antialias=True), 1e-5)
    assert m.shape == (2, h2, w2) and m.dtype == mask.dtype and set(m.unique().tolist()) <= set(mask.unique().tolist())
    assert BatchResize((h2, w2))((x, mask))[1] is mask
    again = BatchResize((h2, w2))((out, mask))[0]
    assert again is out and not BatchResize.train_only


@settings(deadline=None, max_examples=40)
@given(st.floats(0.7, 1.3), st.floats(0.7, 1.3), st.floats(0, 2), seeds)
def test_light_is_torchvisions(tv, f, k, s, seed):
    x, F = picture(seed, 6, 7)*0.1 + 0.45, tv.functional  # nothing is clipped
    theirs = F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(x, f), k), s)
    M, b = lighting_matrix(*[torch.full((2,), v) for v in (f, k, s)], x)
    near(torch.baddbmm(b, M, x.flatten(2)).view_as(x), theirs, 2e-3)  # their grey weights are 0.2989, 0.587, 0.114 as well


@pytest.mark.parametrize('c', [1, 2, 3, 4])
@pytest.mark.parametrize('space', ['linear', 'logit'])
def test_light_on_any_channels(c, space):
    x, tfm = picture(1, 5, 6, n=300, c=c)*0.4 + 0.3, RandomLighting(0.3, 0.4, p=1, space=space)
    set_seed(1); out = tfm((x, None))[0]
    set_seed(1); f, k, s = tfm.draw(300, CPU)
    view = lambda v: v[:, None, None, None]
    w = torch.tensor([0.2989, 0.587, 0.114] if c == 3 else [1/c]*c).view(-1, 1, 1)
    grey = lambda t: (t*w).sum(1, keepdim=True)
    if space == 'linear':
        for v in (f, k): assert 0.7 - 1e-6 <= v.min() < 0.71 and 1.29 < v.max() <= 1.3 + 1e-6
        z = x*view(f)
        m = grey(z).mean((2, 3), keepdim=True)
        z = m + view(k)*(z - m)
        expected = (grey(z) + view(s)*(z - grey(z))).clamp(0, 1)
    else:
        assert 0.35 - 1e-6 <= f.sigmoid().min() < 0.36 and 0.64 < f.sigmoid().max() <= 0.65 + 1e-6
        assert 0.7 - 1e-6 <= k.min() < 0.71 and 1.4 < k.max() <= 1/0.7 + 1e-6
        z = x.logit()*view(k)
        expected = (grey(z) + view(s)*(z - grey(z)) + view(f)).sigmoid()
    assert 0.6 - 1e-6 <= s.min() < 0.62 and 1.38 < s.max() <= 1.4 + 1e-6
    near(out, expected, 1e-4)


def test_light_left_alone_and_refused():
    x = picture(1, 8, 8, n=500)
    for space in ('linear', 'logit'):
        set_seed(1)
        changed = (RandomLighting(0.3, p=0.4, space=space)((x, None))[0] - x).abs().amax((1, 2, 3)) > 1e-4
        assert 0.33 < changed.float().mean() < 0.47
    near(RandomLighting()(((x*255).byte(), None))[0].mean(), x.mean(), 0.05)
    for bad in (x*2 - 1, x*255):
        with pytest.raises(ValueError, match='normalise after it'): RandomLighting()((bad, None))


@settings(deadline=None, max_examples=20)
@given(st.integers(24, 48), st.integers(24, 48), st.floats(0.1, 0.2), st.integers(1, 3), seeds)
def test_erasing(h, w, area, count, seed):
    set_seed(seed)
    tfm = RandomErasing(p=1, sl=area, sh=area, min_aspect=0.5, max_count=count, fill=2.)
    x = picture(seed, h, w, n=300)
    gone = (tfm((x, None))[0] == 2)
    assert (gone == gone[:, :1]).all()
    share = gone[:, 0].float().mean((1, 2))
    assert share.max() <= count*area + 0.12 and share.min() > 0
    if count == 1:
        rows, cols = gone[:, 0].any(2).sum(1), gone[:, 0].any(1).sum(1)
        assert torch.equal(rows*cols, gone[:, 0].sum((1, 2)))
        assert abs(share.mean() - area) < 0.03
        aspect = cols/rows
        assert 0.35 < aspect.min() < 0.7 and 1.4 < aspect.max() < 2.8
    assert gone.any(0).float().mean() > 0.95  # every place has its turn


def test_erasing_with_noise_and_counts():
    set_seed(5)
    x = torch.full((2000, 1, 30, 30), 3.)
    out = RandomErasing(p=0.5, sl=0.1, sh=0.2)((x, None))[0]
    gone = out != 3
    assert 0 <= out[gone].min() and out[gone].max() <= 1 and 0.2 < out[gone].std() < 0.4 and out[gone].unique().numel() > 100
    assert 0.46 < gone.any(3).any(2).float().mean() < 0.54
    tfm = RandomErasing(p=1, sl=0.01, sh=0.01, max_count=3)
    share = tfm.draw(2000, 100, 100, CPU).float().mean((1, 2, 3))
    assert 0.015 < share.mean() < 0.021 and share.max() < 0.035


@pytest.mark.parametrize('make,match', [
    (lambda: RandomFlip(1.5), 'p must be in'), (lambda: RandomAffine(min_zoom=2, max_zoom=1), 'min_zoom <= max_zoom'), (lambda: RandomAffine(max_shear=90), 'max_shear'),
    (lambda: RandomWarp(0.5), 'magnitude'), (lambda: RandomResizedCrop(8, 0.5, 0.4), 'min_scale <= max_scale'), (lambda: RandomResizedCrop(0), 'size must be'),
    (lambda: RandomFlip(target='boxes'), "target must be 'points'"), (lambda: RandomFlip(pad_mode='mirror'), 'pad_mode must be'),
    (lambda: RandomLighting(1.), 'max_lighting'), (lambda: RandomLighting(space='hsv'), 'space must be'), (lambda: RandomErasing(sl=0.5, sh=0.2), 'sl <= sh'),
    (lambda: RandomErasing(max_count=0), 'max_count'), (lambda: aug_transforms(min_scale=0.5), 'needs a size'), (lambda: BatchResize((1, 2, 3)), 'size must be'),
    (lambda: RandomDihedral()((torch.rand(2, 3, 4, 5), None)), 'square pictures'), (lambda: RandomFlip()((torch.rand(3, 4, 5), None)), 'batch of images'),
    (lambda: warp_images(torch.rand(3, 1, 4, 4), torch.eye(3).expand(2, 3, 3)), 'a matrix for each item'), (lambda: perspective_matrix(SQUARE[:3], SQUARE[:3]), 'four points'),
    (lambda: Geometric()((torch.rand(1, 1, 2, 2), None)), 'must define draw'), (lambda: RandomFlip(target='points')((torch.rand(2, 1, 4, 4), torch.rand(2, 2))), 'points must be'),
])
def test_refused_at_the_door(make, match):
    with pytest.raises((ValueError, NotImplementedError), match=match): make()
    with pytest.raises(TypeError, match='uint8 or floating'): RandomFlip()((torch.zeros(1, 1, 2, 2, dtype=torch.int64), None))
    with pytest.raises(TypeError, match='beside Geometry'): Geometry([RandomLighting()])


# --- the usual set

@settings(deadline=None, max_examples=25)
@given(st.booleans(), st.booleans(), st.sampled_from([None, 12, (8, 14)]), st.sampled_from([1., 0.5]), st.sampled_from([0, 0.2]), seeds)
def test_aug_transforms(flip, vertical, size, min_scale, light, seed):
    if size is None: min_scale = 1.
    x = picture(seed, 16, 16, n=5)
    tfms = aug_transforms(do_flip=flip, flip_vert=vertical and size != (8, 14), size=size, min_scale=min_scale, max_lighting=light, xtra_tfms=[RandomErasing()])
    assert [t.order for t in tfms] == sorted(t.order for t in tfms) and sum(isinstance(t, Geometric) for t in tfms) == 1
    batch = x, torch.arange(5)
    for t in tfms: batch = t(batch)
    assert batch[0].shape[2:] == ((16, 16) if size is None else (size, size) if isinstance(size, int) else size)
    assert 0 <= batch[0].min() and batch[0].max() <= 1 and torch.equal(batch[1], torch.arange(5))
    plain = x, batch[1]
    for t in tfms:
        if not t.train_only: plain = t(plain)
    assert plain[0].shape == batch[0].shape


def test_aug_transforms_arguments():
    tfms = aug_transforms(mult=2, max_rotate=15, min_zoom=0.9, max_zoom=1.2, max_warp=0.1, max_lighting=0.3, p_affine=0.6, p_lighting=0.4, pad_mode='zeros', mode='nearest',
                          target='mask', xtra_tfms=[RandomAffine(0, max_shear=5)])
    geometry, light = tfms
    flip, affine, warp, shear = geometry.tfms
    assert (geometry.mode, geometry.pad_mode, geometry.target) == ('nearest', 'zeros', 'mask')
    assert (affine.max_rotate, affine.min_zoom, affine.max_zoom, affine.p, warp.magnitude, warp.p) == (30, 0.9, 1.2, 0.6, 0.2, 0.6)
    assert (flip.p, light.max_lighting, light.p, shear.max_shear) == (0.5, 0.6, 0.4, 5)
    assert isinstance(aug_transforms(flip_vert=True)[0].tfms[0], RandomDihedral)
    assert aug_transforms(do_flip=False, max_rotate=0, max_zoom=1., max_warp=0, max_lighting=0) == []
    crop = aug_transforms(size=8, min_scale=0.3)[0].tfms[0]
    assert (crop.min_scale, crop.ratio, crop.size) == (0.3, (1, 1), (8, 8))


# --- the Learner

class Items:
    "Loaded item by item, so that workers are used."
    def __init__(self, n=40):
        g = torch.Generator().manual_seed(0)
        self.x, self.y = (torch.rand(n, 1, 8, 8, generator=g)*255).byte(), torch.arange(n) % 3
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i], self.y[i]


class LookCB(Callback):
    order = 10
    def before_fit(self, learn): self.seen = {True: [], False: []}
    def before_batch(self, learn): self.seen[learn.training].append(learn.batch[0].clone())


def double(batch): return batch[0]*2, batch[1]
double.order = 99


def learner(workers=0, tfms=None, cbs=(), seed=1):
    set_seed(seed)
    items = Items()
    dls = DataLoaders(DataLoader(items, 16, shuffle=True, num_workers=workers, seed=5), DataLoader(items, 16))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.3), nn.Linear(8, 3))
    return Learner(model, dls, cross_entropy, 0.1, cbs=[BatchTransformCB([double, *aug_transforms(size=8)] if tfms is None else tfms), *cbs])


def fit(learn, n_epoch=2, **kwargs):
    with learn.no_progress(): learn.fit(n_epoch, **kwargs)
    return learn


def test_callback_augments_training_alone_and_in_order():
    look = LookCB()
    learn = fit(learner(cbs=[look]), 1)
    near(torch.cat(look.seen[False]), learn.dls.valid.dataset.x.float()/255*2, 1e-6)
    seen = torch.cat(look.seen[True])
    assert seen.shape == (40, 1, 8, 8) and 1 < seen.max() <= 2 and not seen.requires_grad
    assert not torch.allclose(seen.sort(0).values, torch.cat(look.seen[False]).sort(0).values, atol=0.01)
    look2 = LookCB()
    fit(learner(cbs=[look2], tfms=RandomFlip()), 1)
    assert torch.equal(torch.cat(look2.seen[False]), learn.dls.valid.dataset.x.float()/255)  # one transform will do; bytes are floats without it too


def test_the_same_views_whatever_the_workers():
    runs = []
    for workers in (0, 0, 2):
        look = LookCB()
        learn = fit(learner(workers, cbs=[look]))
        runs.append((torch.cat(look.seen[True]), learn.recorder.losses))
    for views, losses in runs[1:]: assert torch.equal(views, runs[0][0]) and losses == runs[0][1]
    assert not torch.equal(runs[0][0][:40], runs[0][0][40:])


def test_resumed_in_the_middle_of_an_epoch(tmp_path):
    class InterruptCB(Callback):
        def before_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == (1, 2): raise KeyboardInterrupt
    whole = fit(learner(), 3)
    with pytest.raises(KeyboardInterrupt): fit(learner(), 3, cbs=[CheckpointCB(tmp_path, every=1), InterruptCB()])
    resumed = fit(learner(seed=99), 3, cbs=CheckpointCB(tmp_path, every=1, resume=True))
    assert resumed.recorder.losses == whole.recorder.losses
    for p, q in zip(resumed.model.parameters(), whole.model.parameters()): assert torch.equal(p, q)


@pytest.mark.parametrize('beta', [None, 0.25, 1., 0.])
@pytest.mark.parametrize('n', [1, 4])
def test_tta_is_the_mean_of_the_passes(beta, n):
    learn = fit(learner(), 1)
    learn.model.train()
    set_seed(7)
    probs, targets = learn.tta(n=n, beta=beta)
    assert learn.model.training
    after = torch.rand(3)
    set_seed(7); assert torch.equal(torch.rand(3), after)
    learn.model.eval()
    set_seed(7)
    passes = []
    for k in range(n + 1):
        out = []
        for batch in learn.dls.valid:
            batch = (learn.cbs[2].train if k else learn.cbs[2].valid)(batch)
            out.append(learn.model(batch[0]).softmax(1))
        passes.append(torch.cat(out).detach())
    b = 1/(n + 1) if beta is None else beta
    near(probs, b*passes[0] + (1 - b)*torch.stack(passes[1:]).mean(0), 1e-5)
    assert torch.equal(targets, learn.dls.valid.dataset.y)


def test_tta_leaves_nothing_behind_after_an_error():
    learn = fit(learner(), 1)
    cbs, state = list(learn.cbs), torch.get_rng_state()
    for call, match in ((lambda: learn.tta(learn.dls.train), 'does not shuffle'), (lambda: learn.tta(n=0), 'at least 1'), (lambda: learn.tta(tfms=double), 'no random transforms'),
                        (lambda: learn.tta(tfms=[lambda b: 1/0, RandomFlip()]), 'division')):
        with pytest.raises((ValueError, ZeroDivisionError), match=match): call()
        assert learn.cbs == cbs and torch.equal(torch.get_rng_state(), state)


def test_tta_with_other_transforms_and_logits():
    learn = fit(learner(), 1)
    still = BatchResize(8)
    still.train_only = True
    logits, _ = learn.tta(tfms=still, act=lambda x: x)
    near(logits, learn.get_preds(act=lambda x: x)[0], 1e-6)
    assert [type(cb).__name__ for cb in learn.cbs] == ['Recorder', 'ProgressCB', 'BatchTransformCB']


def block_learner(loader_tfms, cbs=()):
    set_seed(1)
    items, fixed = Items(), [IntToFloat(), Normalize(0.5, 0.3)]
    dls = DataLoaders(TfmdDL(items, 16, Pipeline([*fixed, *loader_tfms]), shuffle=True, seed=5), TfmdDL(items, 16, Pipeline([*fixed, *loader_tfms], train=False)))
    return Learner(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), dls, cross_entropy, 0.1, cbs=list(cbs))


@pytest.mark.parametrize('given', [False, True])
@pytest.mark.parametrize('extra', [False, True])
def test_tta_through_the_loaders(given, extra):
    tfms = aug_transforms()
    learn = block_learner([RandomErasing(p=1)] if given else tfms, [BatchTransformCB(double)] if extra else [])
    own, cbs = learn.dls.valid.after_batch, learn.cbs
    set_seed(7); probs, _ = learn.tta(n=2, tfms=tfms if given else None)
    assert learn.dls.valid.after_batch is own and learn.cbs is cbs
    set_seed(7)
    items, passes = learn.dls.valid.dataset, []
    for k in range(3):
        out = []
        for i in range(0, 40, 16):
            batch = Pipeline([IntToFloat(), Normalize(0.5, 0.3), *(tfms if k else []), *([double] if extra else [])])((items.x[i:i + 16], None))
            out.append(learn.model(batch[0]).softmax(1).detach())
        passes.append(torch.cat(out))
    near(probs, torch.stack(passes).mean(0), 1e-5)
    with pytest.raises(ZeroDivisionError): learn.tta(tfms=[lambda b: 1/0, RandomFlip()])
    assert learn.dls.valid.after_batch is own and learn.cbs is cbs


def test_orders_leave_room():
    tfms = [Normalize(0.5, 0.3), *aug_transforms(size=8, xtra_tfms=[RandomErasing()]), IntToFloat()]
    assert [type(t).__name__ for t in Pipeline(tfms).funcs] == ['IntToFloat', 'Geometry', 'BatchResize', 'RandomLighting', 'RandomErasing', 'Normalize']
    assert [type(t).__name__ for t in Pipeline(tfms, train=False).funcs] == ['IntToFloat', 'BatchResize', 'Normalize']
    assert 'max_rotate=10.0' in repr(tfms[1].tfms[1])


def test_works_on_a_gpu():
    if not torch.cuda.is_available(): pytest.skip('no GPU')
    x, y = (picture(1, 20, 20, n=16)*255).byte().cuda(), torch.rand(16, 4, 2).cuda()
    set_seed(1); a = aug_transforms(size=12, xtra_tfms=[RandomErasing()], target='points')
    for batch in ((x, y),):
        for t in a: batch = t(batch)
    assert batch[0].device == x.device and batch[0].shape == (16, 3, 12, 12) and math.isfinite(batch[1].sum().item())
    H = homographies(1, 16)[0]
    near(warp_images(x, H.cuda()).cpu(), warp_images(x.cpu(), H), 1e-3)
