"Lesson 10: augmentation of whole batches."
import torch

from mylib.judge import call, case, entry, randn

EYE = torch.eye(3)[None]
PICTURE = torch.tensor([[[[0., 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.7], [0.8, 0.9, 1., 0.2]]]])
ONE_LEFT = torch.tensor([[[1., 0., 0.5], [0., 1., 0.], [0., 0., 1.]]]) # the output looks half a picture's half to the right
MIRRORED = torch.diag(torch.tensor([-1., 1., 1.]))[None]
TILTED = torch.tensor([[[1., 0.1, 0.], [0., 1., 0.1], [0.2, 0.1, 1.]]])
LARGER = torch.diag(torch.tensor([0.25, 0.25, 1.]))[None] # shows the middle, four times as large


@entry('10.1', level=2, minutes=20, hints=[
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

@entry('10.2', level=2, minutes=30, hints=[
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

@entry('10.3', level=2, minutes=25, hints=[
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

@entry('10.4', level=2, minutes=25, hints=[
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


def pixels(m):
    "M x + b against the three passes, one after the other."
    x, (f, k, s) = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), (torch.tensor(v) for v in ([0.8, 1.2], [1.5, 0.5], [0.3, 2.]))
    M, b = m.lighting_matrix(f, k, s, x)
    return torch.baddbmm(b, M, x.flatten(2)).view_as(x)

def in_logit_space(m):
    M, b = m.lighting_matrix(torch.tensor([0.5]), torch.tensor([2.]), torch.tensor([0.]))
    return dict(M=M, b=b)

@entry('10.5', level=2, minutes=25, hints=[
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
