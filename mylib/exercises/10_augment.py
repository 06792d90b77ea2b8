"Lesson 10: augmentation of whole batches."
import torch

from mylib.judge import call, case, entry, randn

EYE = torch.eye(3)[None]
PICTURE = torch.tensor([[[[0., 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.7], [0.8, 0.9, 1., 0.2]]]])
ONE_LEFT = torch.tensor([[[1., 0., 0.5], [0., 1., 0.], [0., 0., 1.]]]) # the output looks half a picture's half to the right
MIRRORED = torch.diag(torch.tensor([-1., 1., 1.]))[None]
TILTED = torch.tensor([[[1., 0.1, 0.], [0., 1., 0.1], [0.2, 0.1, 1.]]])
LARGER = torch.diag(torch.tensor([0.25, 0.25, 1.]))[None] # shows the middle, four times as large


def moved(m, points=((1., 0.), (0., 1.)), **kwargs):
    "Where things go, from input to output positions: the matrix the other way."
    F = torch.linalg.inv(m.affine_matrix(**kwargs))
    p = torch.cat([torch.tensor(points), torch.ones(len(points), 1)], 1) @ F[0].T
    return p[:, :2]/p[:, 2:]

def turned(m): return moved(m, rotate=90.)
def zoomed(m): return moved(m, zoom=2.)
def leaned(m): return moved(m, shear=45.)
def shifted(m): return moved(m, dx=0.25, dy=-0.5)
def in_this_order(m): return moved(m, rotate=90., zoom=2., shear=45., dx=0.25)
def turned_in_a_wide_picture(m): return moved(m, rotate=90., aspect=2.)
def sheared_in_a_wide_picture(m): return moved(m, shear=45., aspect=2.)
def an_angle_stays_an_angle(m):
    "A turn in a picture of 20 by 40: the distance of a corner from the centre, in pixels, before and after."
    p = moved(m, ((1., 1.),), rotate=33., aspect=2.)*torch.tensor([20., 10.])
    return p.norm(), torch.tensor([20., 10.]).norm()

@entry('10.1', level=2, minutes=30, hints=[
    'Write the matrix of each of the four movements on paper, from input to output, in pixels. In which order must they stand in the product, so that the shear is done first and the shift last?',
    'Zoom times rotation times shear is a matrix of 2 by 2, which you can multiply out: four numbers of cos, sin and the tangent of the shear. A clockwise turn takes right to down, and y grows downwards. A vertical line that leans: x changes with y, and the sign follows from the formula of the text.',
    'Positions run from -1 to 1, so a shift by a fraction d of the picture is 2d, and what leads from y to x is divided by the aspect, what leads from x to y multiplied. Make tensors of all arguments, one axis at least, broadcast them; stack nine numbers and view as (n,3,3); then the inverse, since the grid asks where things come from.'],
    why='The product of the four is written out by hand, so a batch of matrices is a few operations on vectors. inv_ex does not ask a GPU whether the inverse exists, and for a zoom above 0 it does. What describes the movement and what the grid needs are inverse to each other, and to mix them up is the classic mistake: the pictures then turn the wrong way and shrink where they should grow.')
def affine_matrix():
    t = torch.tensor
    return [call('affine_matrix', say='nothing asked: the identity, with a batch axis'),
            call('affine_matrix', zoom=2., say='what is shown twice as large comes from half the range', atol=1e-5),
            call('affine_matrix', dx=0.25, dy=-0.5, say='a shift to the right comes from the left; a fraction of the picture is twice that in positions', atol=1e-5),
            case('a quarter turn clockwise takes right to down', turned, atol=1e-5, also=moved),
            case('twice as large', zoomed, atol=1e-5, also=moved),
            case('a shear leans vertical lines and leaves horizontal ones', leaned, atol=1e-5, also=moved),
            case('a shift right and up', shifted, atol=1e-5, also=moved),
            case('first the shear, then the turn, the zoom, and the shift at the end', in_this_order, atol=1e-5, also=moved),
            case('in a wide picture a turn is one in pixels', turned_in_a_wide_picture, atol=1e-5, also=moved),
            case('so is a shear', sheared_in_a_wide_picture, atol=1e-5, also=moved),
            case('a turn keeps distances in pixels', an_angle_stays_an_angle, rtol=1e-4, also=moved),
            call('affine_matrix', t([0., 90., 45.]), 2., say='tensors and numbers together: one matrix for each item', atol=1e-5),
            call('affine_matrix', rotate=t([10., 20.]), zoom=t([1., 2.]), shear=t([5., 0.]), dx=t([0., 0.1]), dy=t([0.2, 0.]), aspect=1.5, say='each item has numbers of its own', atol=1e-5)]


@entry('10.2', level=2, minutes=20, hints=[
    'The grid is `homography_grid(H, *size)`, and `F.grid_sample` looks the pixels up. What must be true of `x` and `H` before, and what is lost if a large picture is sampled at few places?',
    'In order: `_as_float`, the shape of `H`, the size. Where the output has fewer pixels than the input and `_reduction(...)` is above 2, shrink `x` first by that factor with `F.interpolate(..., antialias=True)`. The grid runs from -1 to 1, so the same `H` still fits. Labels (mode nearest) must never be mixed.',
    'The grid is made in float32, then brought to the dtype of `x`, and expanded to the batch where there is one matrix for all. `align_corners=False`, the padding as given. Bicubic sampling leaves the range of the pixels at edges: clamp it back to the range of `x`.'],
    why='One sampling, however many transforms went into H: each further one would blur. The pictures are shrunk only where the output is smaller, because to look at the matrices of a batch on a GPU makes the host wait for it. The grid in float32, since half precision cannot number the pixels of a large picture.')
def warp_images():
    x, many = PICTURE, torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0., 7.]).repeat(8).expand(1, 1, 16, 16)
    return [call('warp_images', x, EYE, say='the identity changes nothing'),
            call('warp_images', x, ONE_LEFT, say='H leads from output to input positions, and the outside is mirrored'),
            call('warp_images', x, ONE_LEFT, pad_mode='zeros', say='the outside can be black'),
            call('warp_images', x, TILTED @ ONE_LEFT, mode='nearest', pad_mode='border', say='mode and pad_mode are passed on'),
            call('warp_images', torch.cat([x, 1 - x]), torch.cat([MIRRORED, EYE]), say='each item has a matrix of its own'),
            call('warp_images', torch.cat([x, 1 - x]), MIRRORED, say='one matrix serves all items'),
            call('warp_images', x, TILTED, say='a perspective'),
            call('warp_images', x, EYE, (2, 8), say='size is height and width of the output'),
            call('warp_images', (x*255).round().byte(), MIRRORED, say='bytes become floats in 0..1'),
            call('warp_images', x.double(), TILTED, say='double precision stays double precision'),
            call('warp_images', many, EYE, (4, 4), say='before a reduction to a quarter the pictures are shrunk with antialiasing'),
            call('warp_images', many, LARGER, (4, 4), say='what is shown larger is not shrunk before, though the output is small'),
            call('warp_images', many, EYE, (32, 32), say='nothing is shrunk for a larger output'),
            call('warp_images', labels, EYE, (4, 4), mode='nearest', say='labels are not mixed in a reduction'),
            call('warp_images', (x > 0.5).float(), LARGER.sqrt(), mode='bicubic', say='bicubic sampling stays in the range of the pixels'),
            call('warp_images', torch.zeros(3, 1, 4, 4), EYE.expand(2, 3, 3), raises=ValueError, names=('(3,3,3)', '(2, 3, 3)'), say='two matrices for three items are refused, with both shapes'),
            call('warp_images', torch.zeros(1, 4, 4), EYE, raises=ValueError, names='(n,c,h,w)', say='a picture without a batch axis is refused')]


CORNERS = torch.tensor([[-1., -1.], [1., -1.], [1., 1.], [-1., 1.]])

def where_they_go(m):
    "The four points through the matrix, with the division at the end."
    src, dst = CORNERS + 0.2*randn(4, 2), CORNERS*0.8 + 0.1*randn(4, 2, seed=1)
    p = torch.cat([src, torch.ones(4, 1)], 1) @ m.perspective_matrix(src, dst)[0].T
    return dict(mapped=p[:, :2]/p[:, 2:], wanted=dst)

@entry('10.3', level=2, minutes=30, hints=[
    'Write the two equations of one point as two rows of numbers, times the column (h1, ..., h8). Which numbers stand in the row for u, and which in the row for v?',
    'The row for u is (x, y, 1, 0, 0, 0, -u*x, -u*y) with u on the right; for v the first six change places and v takes the place of u. Four points make a matrix of 8 by 8, for each item one.',
    'Give points of shape (4,2) a batch axis, broadcast src and dst, check that there are four points each. Build the rows with `torch.cat`, solve with `torch.linalg`, append the 1 and view as (n,3,3). Any order of the eight equations will do, as long as both sides have it.'],
    why='solve_ex does not wait for the GPU to say whether the equations had a solution; on a CPU, where waiting costs nothing, the check is on. The last entry is set to 1 because the matrix and its multiples map all points alike: eight numbers are free, not nine.')
def perspective_matrix():
    moved, seen = CORNERS + torch.tensor([0.5, -0.25]), CORNERS*torch.tensor([[1., 1.], [1., 1.], [0.5, 0.5], [0.5, 0.5]])
    two = torch.stack([moved, seen])
    return [call('perspective_matrix', CORNERS, CORNERS, say='points that stay give the identity, with a batch axis', atol=1e-5),
            call('perspective_matrix', CORNERS, moved, say='a shift stands in the last column', atol=1e-5),
            call('perspective_matrix', CORNERS, CORNERS[:, [1, 0]], say='x and y are not mixed up: reflected in the diagonal', atol=1e-5),
            call('perspective_matrix', CORNERS, seen, say='a square seen from below, where parallel lines meet', atol=1e-5),
            case('the points go where they should', where_they_go, atol=1e-4),
            call('perspective_matrix', two, two.flip(0), say='each item has a matrix of its own', atol=1e-5),
            call('perspective_matrix', CORNERS, two, say='four points of one side serve all items of the other', atol=1e-5),
            call('perspective_matrix', CORNERS.double(), seen.double(), say='double precision stays double precision'),
            call('perspective_matrix', CORNERS[:3], seen[:3], raises=ValueError, names=('four points', '3'), say='three points are refused, with the shape that came'),
            call('perspective_matrix', torch.tensor([[0., 0.], [1., 1.], [2., 2.], [0., 1.]]), CORNERS, raises=RuntimeError, say='three points on a line are an error on a CPU')]


def forward(tfm, n=4000, h=40, w=40):
    "The drawn matrices the other way, from input to output positions."
    return torch.linalg.inv(tfm.draw(n, h, w, 'cpu'))

def spread(v): return dict(least=v.min().item(), most=v.max().item(), mean=v.mean().item())

def affine_shape(m): return list(m.RandomAffine().draw(5, 40, 60, 'cpu').shape)

def nothing_asked(m): return m.RandomAffine(0, 1, 1, p=1).draw(3, 40, 60, 'cpu')

def angles(m):
    F = forward(m.RandomAffine(30, 1., 1., p=1))
    return spread(torch.atan2(F[:, 1, 0], F[:, 0, 0]).rad2deg()/30)

def zooms(m):
    F = forward(m.RandomAffine(0, 1., 3., p=1))
    return spread(F[:, 0, 0])

def shears(m):
    F = forward(m.RandomAffine(0, 1., 1., max_shear=45, p=1))
    return spread(torch.atan(F[:, 0, 1]).rad2deg()/45)

def shifts(m):
    F = forward(m.RandomAffine(0, 1., 1., max_translate=0.25, p=1))
    return dict(right=spread(F[:, 0, 2]/2), down=spread(F[:, 1, 2]/2))

def zoomed_places(m):
    F = forward(m.RandomAffine(0, 3., 3., p=1))
    return dict(right=spread(F[:, 0, 2]/2), down=spread(F[:, 1, 2]/2))

def together(m):
    "Correlations of what should have nothing to do with each other."
    F = forward(m.RandomAffine(30, 1., 1., max_translate=0.25, p=1))
    G = forward(m.RandomAffine(0, 3., 3., p=1))
    corr = lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    return {'angle and shift': corr(F[:, 1, 0], F[:, 0, 2]), 'right and down': corr(F[:, 0, 2], F[:, 1, 2]), 'places right and down': corr(G[:, 0, 2], G[:, 1, 2])}

def not_square(m):
    "A turn must not shear a picture that is twice as wide as high."
    F = forward(m.RandomAffine(30, 1., 1., p=1), h=40, w=80)
    return (F[:, 1, 0]/F[:, 0, 1]).median()

def share_changed(m):
    H = m.RandomAffine(30, p=0.25).matrices(4000, 40, 40, 'cpu')
    return (H != torch.eye(3)).flatten(1).any(1).float().mean()

def inherited(m):
    t = m.RandomAffine(size=32, pad_mode='zeros')
    return [isinstance(t, m.Geometric), t.size, t.pad_mode, t.mode, t.p]

def zoom_upside_down(m): m.RandomAffine(min_zoom=2., max_zoom=1.)
def no_zoom(m): m.RandomAffine(min_zoom=0.)
def flat_shear(m): m.RandomAffine(max_shear=90)

@entry('10.4', level=2, minutes=25, hints=[
    '`affine_matrix` makes the matrices; what remains is to draw its five arguments, one number for each item. Which of them are drawn either way, and which is not?',
    'u in -1..1 times the maximum for angle, shear and both shifts; the zoom evenly between its two ends. A zoom of z towards a random place is a shift of up to (1 - z)/2 either way, on top of the translation, with draws of its own.',
    'Six rows of `torch.rand(...)*2 - 1` (angle, shear, two translations, two places) and one for the zoom, all on `device`. Pass the aspect, width by height. The constructor hands p and the rest to `Geometric`, refuses zooms that are not 0 < min <= max, and keeps the shear in 0..80 with `_between`.'],
    why='A shift of (1 - z)/2 is exactly what brings an edge of the enlarged picture to the edge of the frame, so that a zoom never looks outside. All draws of one batch in one call: on a GPU each call is a kernel, and they would take longer than the arithmetic.')
def random_affine():
    return [case('one matrix of 3 by 3 for each item', affine_shape),
            case('with all ranges at nothing it is the identity', nothing_asked, atol=1e-5),
            case('the angles fill the range, either way, in degrees', angles, atol=0.06, also=(forward, spread)),
            case('the zooms fill their range, evenly', zooms, atol=0.1, also=(forward, spread)),
            case('the shears fill the range, either way', shears, atol=0.06, also=(forward, spread)),
            case('shifts are fractions of the picture, either way, in both directions', shifts, atol=0.03, also=(forward, spread)),
            case('a zoom goes to any place, and not outside of the picture', zoomed_places, atol=0.1, also=(forward, spread)),
            case('the draws are independent of each other', together, atol=0.1, also=forward),
            case('in pictures that are not square a turn is a turn', not_square, atol=0.01, also=forward),
            case('p is the share of items that are changed', share_changed, atol=0.05),
            case('the settings of Geometric are passed on', inherited),
            case('zooms the wrong way round are refused', zoom_upside_down, raises=ValueError, names=('min_zoom', 'max_zoom')),
            case('a zoom of 0 is refused', no_zoom, raises=ValueError, names='min_zoom'),
            case('a shear that lays the picture flat is refused', flat_shear, raises=ValueError, names='max_shear')]


def fixed(m, H, seen=None, **kwargs):
    "A transform that always gives H, and notes the frame that it is asked for."
    class Fixed(m.Geometric):
        def draw(self, n, h, w, device):
            if seen is not None: seen.append((h, w))
            return H.expand(n, 3, 3)
    return Fixed(**kwargs)

def nobody(m): return m.Geometry([]).matrices(2, 4, 4, 'cpu')

def one_member(m): return m.Geometry([fixed(m, TILTED)]).matrices(2, 4, 4, 'cpu')

def order(m):
    turn, shift = m.affine_matrix(90.), m.affine_matrix(dx=0.25)
    return {'turn, then shift': m.Geometry([fixed(m, turn), fixed(m, shift)]).matrices(1, 4, 4, 'cpu')[0],
            'shift, then turn': m.Geometry([fixed(m, shift), fixed(m, turn)]).matrices(1, 4, 4, 'cpu')[0]}

def seldom(m):
    "A member with p=0 never acts, one with p=0.5 on half of the items."
    never = m.Geometry([m.RandomFlip(0.)]).matrices(3, 4, 4, 'cpu')
    half = m.Geometry([m.RandomFlip(0.5), fixed(m, EYE)]).matrices(2000, 4, 4, 'cpu')
    return dict(never=never, half=(half[:, 0, 0] < 0).float().mean())

def frames(m):
    seen = []
    m.Geometry([fixed(m, EYE, seen), fixed(m, EYE, seen, size=(10, 20)), fixed(m, EYE, seen), fixed(m, EYE, seen, size=8), fixed(m, EYE, seen)]).matrices(1, 30, 40, 'cpu')
    return seen

def sizes(m):
    a, b, c = (fixed(m, EYE, size=s) for s in ((10, 20), 8, None))
    return [m.Geometry([a, b, c]).size, m.Geometry([b, a]).size, m.Geometry([a, b], size=6).size, m.Geometry([c]).size]

def resampled_once(m):
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    calls, real = [], m.warp_images.__globals__['F'].grid_sample
    def counted(*args, **kwargs): calls.append(1); return real(*args, **kwargs)
    m.F.grid_sample = counted
    try: out, y = m.Geometry([m.RandomFlip(1.), fixed(m, m.affine_matrix(20.))], pad_mode='zeros')((x, torch.tensor([1])))
    finally: m.F.grid_sample = real
    return dict(pictures=out, label=y, resamplings=len(calls))

def from_a_generator(m):
    t = m.Geometry(fixed(m, H) for H in (TILTED, MIRRORED))
    return [t.matrices(1, 4, 4, 'cpu')[0], t.matrices(1, 4, 4, 'cpu')[0]]

def settings(m):
    t = m.Geometry([m.RandomFlip()], mode='nearest', target='mask')
    return [t.p, t.mode, t.target, t.pad_mode]

def foreign(m): m.Geometry([m.RandomFlip(), m.RandomLighting()])

@entry('10.5', level=2, minutes=25, hints=[
    'Each matrix leads from output to input positions. The output of the last transform is where a pixel starts its way back: whose matrix does it meet first?',
    'Begin with identities and multiply each member\'s matrices from the right. Ask for `matrices`, not for `draw`: only the former knows the member\'s p. A member that has a `size` leaves a frame of that size to the next.',
    'In the constructor: a list of the members, a TypeError for what is not `Geometric`, and to `super().__init__` a p of 1, the first size that is not None among the own one and those of the members from last to first, and the keywords.'],
    why='The chance p belongs to each member, so the whole has p=1. The product of matrices costs nothing beside a resampling, and every resampling blurs: that is why all geometry goes into one, and why targets move along with the images by the same H.')
def geometry():
    return [case('without members it is the identity', nobody),
            case('one member: its matrices', one_member, also=fixed),
            case('the transforms act in the order of the list', order, also=fixed, atol=1e-5),
            case("each member's own p decides on which items it acts", seldom, also=fixed, atol=0.06),
            case('each member sees the frame that the one before it left, as h and w', frames, also=fixed),
            case('the size is the own one, else that of the last member that has one', sizes, also=fixed),
            case('a batch is resampled once, with the settings of Geometry', resampled_once, also=fixed, atol=1e-4),
            case('the members may come from a generator, and serve more than one batch', from_a_generator, also=fixed),
            case('p is 1, and the keywords go to Geometric', settings),
            case('what is no Geometric transform is refused', foreign, raises=TypeError, names='RandomLighting')]


def parts_of(tfm, n=4000, h=40, w=40):
    "Width and height of the drawn parts, and their middle, as fractions of the frame."
    H = tfm.draw(n, h, w, 'cpu')
    return H[:, 0, 0], H[:, 1, 1], H[:, 0, 2], H[:, 1, 2]

def crop_shape(m):
    t = m.RandomResizedCrop((8, 12))
    return [list(t.draw(5, 40, 60, 'cpu').shape), list(t((torch.zeros(5, 3, 40, 60), None))[0].shape)]

def whole_frame(m): return m.RandomResizedCrop(8, min_scale=1., ratio=(1., 1.)).draw(2, 40, 40, 'cpu')
def upright(m): return (m.RandomResizedCrop(8).draw(50, 40, 60, 'cpu')[:, [0, 1, 2, 2], [1, 0, 0, 1]]).abs().max()

def areas(m):
    pw, ph, _, _ = parts_of(m.RandomResizedCrop(8, min_scale=0.2, ratio=(1., 1.)))
    return spread(pw*ph)

def ratios(m):
    pw, ph, _, _ = parts_of(m.RandomResizedCrop(8, min_scale=0.01, max_scale=0.1, ratio=(0.25, 4.)))
    return spread((pw/ph).log())

def ratios_in_pixels(m):
    pw, ph, _, _ = parts_of(m.RandomResizedCrop(8, min_scale=0.1, max_scale=0.2, ratio=(1., 1.)), h=40, w=80)
    return spread(pw*80/(ph*40))

def whole_areas(m):
    pw, ph, _, _ = parts_of(m.RandomResizedCrop(8, min_scale=0.25, max_scale=0.25, ratio=(0.5, 2.)), h=40, w=60)
    return spread(pw*ph)

def places(m):
    pw, ph, tx, ty = parts_of(m.RandomResizedCrop(8, min_scale=0.25, max_scale=0.25, ratio=(1., 1.)))
    return dict(right=spread(tx), down=spread(ty))

def inside(m):
    pw, ph, tx, ty = parts_of(m.RandomResizedCrop(8, min_scale=0.3, ratio=(0.2, 5.)), h=40, w=70)
    return dict(beyond=bool(max((tx.abs() + pw).max(), (ty.abs() + ph).max()) > 1.0001), reaches_the_edge=bool((tx.abs() + pw).max() > 0.99), narrowest=bool(min(pw.min(), ph.min()) > 0))

def crop_draws(m):
    "Correlations of what should have nothing to do with each other."
    pw, ph, tx, ty = parts_of(m.RandomResizedCrop(8, min_scale=0.1, max_scale=0.3, ratio=(0.5, 2.)))
    x, y = tx/(1 - pw), ty/(1 - ph)
    corr = lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    return {'right and down': corr(x, y), 'area and shape': corr(pw*ph, (pw/ph).log()), 'area and place': corr(pw*ph, x)}

def whole_otherwise(m):
    H = m.RandomResizedCrop(8, max_scale=0.5, p=0.25).matrices(4000, 40, 40, 'cpu')
    return (H != torch.eye(3)).flatten(1).any(1).float().mean()

def crop_settings(m):
    t = m.RandomResizedCrop(32, pad_mode='zeros', target='mask')
    return [isinstance(t, m.Geometric), t.size, t.pad_mode, t.target, t.p, t.min_scale, t.max_scale, list(t.ratio)]

def scales_upside_down(m): m.RandomResizedCrop(8, min_scale=0.9, max_scale=0.5)
def more_than_all(m): m.RandomResizedCrop(8, max_scale=1.5)
def no_area(m): m.RandomResizedCrop(8, min_scale=0.)

@entry('10.6', level=2, minutes=25, hints=[
    'Draw the area a and the shape r (width over height). Which width and height, as fractions of the frame, have that area and that shape? And what is a shape in pixels, in a frame that is not square?',
    'With r as width over height of the fractions, they are the roots of a*r and a/r. In pixels r is another number: the frame itself is w/h wide. Evenly in the logarithm is what `exp` makes of an even draw between two logarithms.',
    'Cut both at 1. The middle of the part can be up to 1 minus its size away from the middle of the frame, either way, for each direction a draw of its own. The matrix has the two sizes on its diagonal and the place in its last column. The constructor gives p, size and the keywords to `Geometric` and refuses scales that are not 0 < min <= max <= 1.'],
    why='The shape is drawn in the logarithm so that twice as wide and half as wide are equally likely. Instead of trying again until a part fits, as the original does, what does not fit is cut: no loop, no items that wait for the unlucky ones, and one kernel for the whole batch.')
def random_resized_crop():
    return [case('one matrix for each item, and pictures of the size that is asked for', crop_shape),
            case('a scale of 1 and a ratio of 1 show everything', whole_frame, atol=1e-5),
            case('no turn, no shear, no perspective', upright, atol=1e-6),
            case('the areas fill their range, evenly', areas, atol=0.03, also=(parts_of, spread)),
            case('the area is a share of the picture, whatever the shape', whole_areas, atol=1e-3, also=(parts_of, spread)),
            case('the shapes fill their range, evenly in the logarithm', ratios, atol=0.08, also=(parts_of, spread)),
            case('the ratio is one of pixels', ratios_in_pixels, atol=1e-3, also=(parts_of, spread)),
            case('the places fill what is free, evenly, in both directions', places, atol=0.03, also=(parts_of, spread)),
            case('what does not fit is cut to the frame', inside, also=parts_of),
            case('the draws are independent of each other', crop_draws, atol=0.1, also=parts_of),
            case('p is the share of items that are cropped', whole_otherwise, atol=0.05),
            case('the settings are kept, and those of Geometric passed on', crop_settings),
            case('scales the wrong way round are refused', scales_upside_down, raises=ValueError, names=('min_scale', 'max_scale')),
            case('more than the whole is refused', more_than_all, raises=ValueError, names='max_scale'),
            case('an area of 0 is refused', no_area, raises=ValueError, names='min_scale')]


def pixels(m):
    "M x + b against the three passes, one after the other."
    x, (f, k, s) = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), (torch.tensor(v) for v in ([0.8, 1.2], [1.5, 0.5], [0.3, 2.]))
    M, b = m.lighting_matrix(f, k, s, x)
    return torch.baddbmm(b, M, x.flatten(2)).view_as(x)

def in_logit_space(m):
    M, b = m.lighting_matrix(torch.tensor([0.5]), torch.tensor([2.]), torch.tensor([0.]))
    return dict(M=M, b=b)

@entry('10.7', level=2, minutes=25, hints=[
    'Read M and b off the formula of the text, one matrix and one offset for each picture. In logit space (x is None) the picture stays where it is: the brightness is the whole offset, and contrast and saturation make the matrix.',
    'S is s times the identity plus (1 - s) times a matrix that has the weights w in each row. With pixels, M is c*f*S and b is (1 - c)*f*m, where m is each picture\'s mean grey: the mean of each channel, weighted by w.',
    'Give the three factors the shape (n,1,1) so that everything broadcasts. w is GREY for three channels, and the same for each channel otherwise; make it with `saturation.new_tensor`, so that it lies on the same device.'],
    why='The mean over the pixels and the weighted sum over the channels are both linear, so their order is free, and the means of three numbers are cheaper. One matrix and one baddbmm instead of three passes over all pixels, with no clamp between them that would lose what a later pass brings back.')
def lighting():
    one, x = torch.ones(1), torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    flat = torch.tensor([0.5, 0.25, 0.125]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    return [call('lighting_matrix', one, one, one, flat, say='factors of 1 give the identity and no offset'),
            call('lighting_matrix', 2*one, one, one, flat, say='brightness multiplies'),
            call('lighting_matrix', one, 2*one, one, flat, say="contrast moves away from the picture's mean grey, with the eye's weights"),
            call('lighting_matrix', one, one, 0*one, flat, say='a saturation of 0 gives each pixel its own grey, in all channels'),
            call('lighting_matrix', 2*one, 3*one, one, flat, say='the mean grey that contrast turns about has the new brightness'),
            call('lighting_matrix', torch.tensor([0.8, 1.2]), torch.tensor([1.5, 0.5]), torch.tensor([0.3, 2.]), x, say='each picture has factors and a mean grey of its own'),
            case('a batch of pictures', pixels),
            case('in logit space: around 0, and the brightness is the offset', in_logit_space),
            call('lighting_matrix', one, 2*one, 0.5*one, flat[:, :1], c=1, say='one channel'),
            call('lighting_matrix', one, 2*one, 0.5*one, torch.cat([flat, flat[:, :1]], 1), c=4, say='with four channels all count the same')]


def erased(m, n=2000, h=40, w=40, **kwargs): return m.RandomErasing(**{**dict(p=1.), **kwargs}).draw(n, h, w, torch.device('cpu'))

def mask_shape(m):
    gone = erased(m, n=3, h=5, w=7)
    return [list(gone.shape), gone.dtype]

def how_many_items(m): return erased(m, p=0.25, sl=0.2).flatten(1).any(1).float().mean()
def nobody_is_erased(m): return bool(erased(m, p=0., sl=0.2).any())

def rectangles(m):
    "Is each one all rows of a range times all columns of a range?"
    gone = erased(m, n=300, h=30, w=50, sl=0.1)[:, 0]
    rows, cols = gone.any(2), gone.any(1)
    solid = all(bool((v.float().diff(dim=1) > 0).sum(1).add(v[:, 0]).max() <= 1) for v in (rows, cols))
    return dict(rows_times_columns=torch.equal(gone, rows[:, :, None] & cols[:, None]), without_gaps=solid)

def area_of_one(m): return erased(m, n=300, h=100, w=50, sl=0.2, sh=0.2, min_aspect=1.).float().mean()
def areas_erased(m): return spread(erased(m, h=60, w=60, n=500, sl=0.1, sh=0.5, min_aspect=1.).float().mean((1, 2, 3)))

def aspects(m):
    "Logarithm of width over height, in pixels, of small rectangles in a wide picture."
    gone = erased(m, n=800, h=100, w=200, sl=0.05, sh=0.05, min_aspect=0.25)[:, 0]
    return spread((gone.any(1).sum(1)/gone.any(2).sum(1)).log())

def where(m):
    "How often each of four by four fields of the picture is touched in its middle; the fields of the middle and of the edge."
    often = erased(m, n=6000, h=40, w=40, sl=0.04, sh=0.04, min_aspect=1.)[:, 0].float().mean(0)
    return dict(left_to_right=(often[:, :20].sum() - often[:, 20:].sum())/often.sum(), top_to_bottom=(often[:20].sum() - often[20:].sum())/often.sum(), middle=often[15:25, 15:25].mean())

def whole_thing(m): return bool(erased(m, n=50, sl=1., sh=1., min_aspect=1.).all())
def several(m): return erased(m, n=2000, h=30, w=30, sl=0.01, sh=0.01, min_aspect=1., max_count=3).float().mean()

def erase_draws(m):
    gone = erased(m, n=2000, h=40, w=40, sl=0.02, sh=0.3, min_aspect=0.5)[:, 0]
    area, rows, cols = gone.float().mean((1, 2)), gone.any(2).float(), gone.any(1).float()
    top, left = rows.argmax(1).float()/(40 - rows.sum(1)).clamp_min(1), cols.argmax(1).float()/(40 - cols.sum(1)).clamp_min(1)
    corr = lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    return {'top and left': corr(top, left), 'area and top': corr(area, top), 'area and shape': corr(area, (cols.sum(1)/rows.sum(1)).log())}

def filled(m, **kwargs):
    x = torch.full((6, 3, 20, 20), 7.)
    out, y = m.RandomErasing(**{**dict(p=1., sl=0.3, sh=0.3, min_aspect=1.), **kwargs})((x, torch.arange(6)))
    gone = out != 7
    return out, gone, x, y

def with_a_number(m):
    out, gone, x, y = filled(m, fill=0.5)
    return dict(values=out.unique(), share=gone.float().mean(), all_channels=bool((gone == gone[:, :1]).all()), targets=y, input_stays=bool((x == 7).all()))

def with_noise(m):
    out, gone, *_ = filled(m)
    v = out[gone]
    return dict(least=v.min(), most=v.max(), mean=v.mean(), differs=len(v.unique()) > 100, channels_differ=not torch.equal(out[:, 0][gone[:, 0]], out[:, 1][gone[:, 1]]))

def bytes_too(m):
    out, _ = m.RandomErasing(p=1., fill=0., sh=0.1)((torch.full((4, 1, 10, 10), 255, dtype=torch.uint8), None))
    return [out.dtype, out.max()]

def erasing_is_for_training(m): return [m.RandomErasing.train_only, m.RandomErasing.order > m.RandomFlip.order]
def areas_upside_down(m): m.RandomErasing(sl=0.5, sh=0.2)
def no_rectangles(m): m.RandomErasing(max_count=0)
def chance_of_two(m): m.RandomErasing(p=2.)

@entry('10.8', level=2, minutes=35, hints=[
    'One rectangle for each item of a batch, without a loop over the items: how do you get from n beginnings and n lengths to a mask (n,h) of rows?',
    'The positions `arange(h) + 0.5` of the pixels against beginning and end, each of shape (n,1): two comparisons. Rows and columns together are a broadcast product of two masks. Area and aspect are drawn, the latter evenly in the logarithm between min_aspect and its inverse, and from them come the two sides.',
    'Height squared is area*h*w/aspect, width squared area*h*w*aspect; neither can be longer than the picture. A beginning is a share of what is left free. A number of rectangles for each item, 0 with the chance 1 - p, decides which of the `max_count` rounds count for it. `__call__` takes `torch.where` of the mask, with noise of shape (c,h,w) or the constant.'],
    why='Rectangles differ in size, and tensors of different size make no batch; a mask of comparisons does not care. One field of noise serves the whole batch, because the rectangles are at different places and show different parts of it. Noise rather than black, so that the network cannot learn what an erased place looks like.')
def random_erasing():
    return [case('a boolean mask (n,1,h,w)', mask_shape, also=erased),
            case('with p = 0 nothing is erased', nobody_is_erased, also=erased),
            case('p is the share of items that are erased', how_many_items, atol=0.04, also=erased),
            case('what is erased is a rectangle', rectangles, also=erased),
            case('its area is a share of the whole picture', area_of_one, atol=0.01, also=erased),
            case('the areas fill their range, evenly', areas_erased, atol=0.03, also=(erased, spread)),
            case('the aspect is width over height in pixels, either way, evenly in the logarithm', aspects, atol=0.12, also=(erased, spread)),
            case('a rectangle of the whole area covers the picture', whole_thing, also=erased),
            case('the places are drawn evenly, within the picture', where, atol=0.04, also=erased),
            case('the draws are independent of each other', erase_draws, atol=0.1, also=erased),
            case('from 1 to max_count rectangles', several, atol=0.0025, also=erased),
            case('a number fills all channels; the target and the input stay as they are', with_a_number, atol=0.02, also=filled),
            case('noise in 0..1, another value for each pixel and channel', with_noise, atol=0.06, also=filled),
            case('bytes become floats in 0..1', bytes_too),
            case('it belongs to training, behind the geometry', erasing_is_for_training),
            case('areas the wrong way round are refused', areas_upside_down, raises=ValueError, names=('sl', 'sh')),
            case('no rectangles at all are refused', no_rectangles, raises=ValueError, names='max_count'),
            case('a chance of 2 is refused', chance_of_two, raises=ValueError, names='p ')]


DATA = [(torch.tensor([[0.5, 0.25]]), torch.tensor([0])), (torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1, 0]))]

class Views:
    "A random transform whose view number k adds k: what was seen can be told afterwards."
    train_only, k = True, 0
    def __init__(self, n_batch=2): self.calls, self.n_batch = 0, n_batch
    def __call__(self, batch):
        self.calls += 1
        return (batch[0] + (self.calls + self.n_batch - 1)//self.n_batch, *batch[1:])

class Doubled:
    "A transform that validation gets, too."
    def __call__(self, batch): return (batch[0]*2, *batch[1:])

def tta_learner(m, cbs=(), data=None, model=None, dls=None):
    from mylib.learner import Learner
    data = data or DATA
    loss = lambda p, t: p.sum()
    return Learner(model or torch.nn.Identity(), dls or (data, data), loss, cbs=list(cbs), device='cpu')

def asked(learn, *args, **kwargs):
    with learn.no_progress(): return learn.tta(*args, **kwargs)

def equal_weights(m): return asked(tta_learner(m), tfms=Views(), n=4)
def one_view(m): return asked(tta_learner(m), tfms=Views(), n=1)[0]
def with_beta(m): return [asked(tta_learner(m), tfms=Views(), n=3, beta=b)[0] for b in (0., 0.25, 1.)]

def of_the_callback(m):
    "The transforms that were used in training are in a callback; one of them is for validation as well."
    return asked(tta_learner(m, [m.BatchTransformCB([Doubled(), Views()])]), n=2)[0]

def others_instead(m): return asked(tta_learner(m, [m.BatchTransformCB([Doubled(), Views(1)])]), n=2, tfms=[Views()])[0]

class Loader:
    "As the loaders of lesson 08: batches go through `after_batch`."
    def __init__(self, tfms): self.after_batch = tfms
    def __len__(self): return len(DATA)
    def __iter__(self): return (self.after_batch(b) for b in DATA)

def of_the_loader(m):
    from types import SimpleNamespace
    train, valid = Loader(m.Pipeline([Doubled(), Views()])), Loader(m.Pipeline([Doubled()]))
    learn = tta_learner(m)
    learn.dls = SimpleNamespace(train=train, valid=valid)
    before = valid.after_batch
    return dict(predictions=asked(learn, n=2)[0], as_it_was=valid.after_batch is before)

def another_loader(m): return asked(tta_learner(m), DATA[1:], tfms=Views(1), n=2)
def activation(m): return asked(tta_learner(m), tfms=Views(), n=1, act=torch.exp)[0]

def mean_of_probabilities(m):
    "What is averaged are probabilities, not logits."
    return asked(tta_learner(m), tfms=Views(), n=2, act=lambda p: (p*3).sigmoid())[0]

class Noisy:
    train_only = True
    def __call__(self, batch): return (batch[0] + torch.rand(()), *batch[1:])

def everything_as_before(m):
    cb = m.BatchTransformCB([Noisy()])
    learn = tta_learner(m, [cb], model=torch.nn.Dropout(0.))
    with learn.no_progress():
        cbs, state, modes = list(learn.cbs), torch.get_rng_state(), []
        for mode in (True, False):
            learn.model.train(mode)
            learn.tta(n=2)
            modes.append(learn.model.training)
        return dict(callbacks=[a is b for a, b in zip(learn.cbs, cbs)], number=len(learn.cbs) - len(cbs), random_numbers=torch.equal(state, torch.get_rng_state()), modes=modes)

def after_an_error(m):
    class Fails:
        train_only = True
        def __call__(self, batch): raise ZeroDivisionError
    learn = tta_learner(m, [m.BatchTransformCB([Fails()])])
    with learn.no_progress():
        cbs, mode, error = list(learn.cbs), learn.model.training, None
        try: learn.tta()
        except ZeroDivisionError: error = 'comes out'
        return dict(error=error, callbacks=[a is b for a, b in zip(learn.cbs, cbs)], mode=learn.model.training == mode)

def no_random_ones(m): asked(tta_learner(m, [m.BatchTransformCB([Doubled()])]))
def order_changes(m):
    class Shuffled:
        passes = 0
        def __len__(self): return len(DATA)
        def __iter__(self):
            self.passes += 1
            return iter([DATA[1], DATA[1][:1] + (torch.tensor([self.passes % 2, 1]),)])
    asked(tta_learner(m), Shuffled(), tfms=Views(), n=1)
def no_views(m): asked(tta_learner(m), tfms=Views(), n=0)

@entry('10.9', level=3, minutes=45, hints=[
    '`get_preds` already gives predictions for a loader. So what is left: to make the random transforms act in it, n times, and to leave no trace. What has to be put back afterwards, and what if something fails in between?',
    'The transforms are in one of two places. Of a loader of lesson 08, the Pipeline `after_batch` can be exchanged for one with the random ones behind. Otherwise put a `BatchTransformCB` into `self.cbs` in place of those that are there, with what they do in validation, then the random ones, and let its validation be its training. `_random` picks.',
    'The plain pass first, inside `keep_rng` and a `try`; then n passes, added up by 1/n, each time with a look whether the targets are the same. In `finally`: `cbs`, `after_batch`, the mode of the model. At the end a `torch.lerp` between the mean of the views and the plain one, with beta, or 1/(n + 1) by default. No random transforms at all is a ValueError.'],
    why='Views that are averaged must be of the same items, so a loader that shuffles is an error and not a mean of strangers. Whoever measures with it between two epochs must not change the second one: the random generators, the callbacks and the mode are put back, also after an error. Probabilities are averaged, since an average of logits lets one overconfident view overrule the others.')
def tta():
    at = (Views, tta_learner, asked)
    return [case('the plain items and four views count the same; the targets come along', equal_weights, also=at),
            case('a single view', one_view, also=at),
            case('beta is the weight of the plain one', with_beta, also=at),
            case('by default the random transforms of a BatchTransformCB; what it does in validation it does everywhere', of_the_callback, also=(Doubled, *at)),
            case('other transforms take the place of its random ones', others_instead, also=(Doubled, *at)),
            case("of loaders that transform themselves, those of dls.train; after_batch is put back", of_the_loader, also=(Doubled, Loader, *at)),
            case('another loader', another_loader, also=at),
            case('act is applied in each pass, and the mean is taken after it', activation, also=at),
            case('so probabilities are averaged', mean_of_probabilities, also=at),
            case('callbacks, random numbers and mode are what they were', everything_as_before, also=(Noisy, tta_learner)),
            case('after an error, too', after_an_error, also=tta_learner),
            case('without random transforms it is an error', no_random_ones, raises=ValueError, names='tfms', also=(Doubled, tta_learner, asked)),
            case('targets that change between two passes are refused', order_changes, raises=ValueError, names='shuffle', also=at),
            case('no views are refused', no_views, raises=ValueError, names='n ', also=at)]
