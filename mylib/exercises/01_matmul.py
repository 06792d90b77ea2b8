"Lesson 01: matrix multiplication."
import torch

from mylib.judge import call, case, entry, randn


@entry('01.1', level=1, minutes=10, hints=[
    'How many entries has the result, and how many multiplications and additions does one of them take? What must be read, and what written, at the very least?',
    'Each of the n times m entries is a sum of k products. A multiplication and an addition count as two operations.',
    'Two numbers: the operations, and the bytes of the three matrices together, each touched once. A negative size is a ValueError that shows all three.'],
    why='The ratio of the two numbers, operations for each byte, decides whether a product waits for the arithmetic or for the memory, long before anything is measured. Counting each operand once is the best case, which no real product quite reaches.')
def matmul_work():
    return [call('matmul_work', 1, 1, 1, say='one product: a multiplication and an addition, three numbers of 4 bytes'),
            call('matmul_work', 2, 3, 5, say='each entry is a sum of k products; both operands and the result are moved'),
            call('matmul_work', 2, 3, 5, itemsize=2, say='half precision moves half the bytes and takes as many operations'),
            call('matmul_work', 2, 0, 5, say='a sum over no entries: nothing to compute, but the result is written'),
            call('matmul_work', 3, -1, 5, raises=ValueError, names='-1', say='a negative size is refused, with what came')]


def kind(m): return m.broadcast_shape((2, 1), (3,)).numel()

@entry('01.2', level=2, minutes=20, hints=[
    'Write two shapes below each other, flush right. What are the rules for one column of sizes, and what stands where one shape has run out?',
    'Walk over the axes -1, -2, ... up to the longest shape. At each, collect the sizes of the shapes that are long enough into a set and take the ones out: what is left tells you everything.',
    'Nothing left: the size is 1. One left: that is it, also if it is 0. More: a ValueError with the axis and its sizes. You have collected from the back, so turn the list round for `torch.Size`.'],
    why='Taking the ones out of a set, rather than taking the maximum, makes a size of 0 come out right (0 and 1 give 0) and refuses 0 against 2. Axes are counted from the last because that is where broadcasting lines the shapes up.')
def broadcast_shape():
    return [call('broadcast_shape', (3,), (3,), say='equal sizes stay'),
            call('broadcast_shape', (2, 1), (2, 3), say='a size of 1 is stretched'),
            call('broadcast_shape', (4, 1), (1, 3), say='both shapes may be stretched, at different axes'),
            call('broadcast_shape', (4, 3), (3,), say='shapes are lined up at their last axis'),
            call('broadcast_shape', (3,), (2, 4, 1), say='the longer shape may come second'),
            call('broadcast_shape', (5, 1, 4), (3, 1), (), say='any number of shapes, one without axes among them'),
            call('broadcast_shape', (2, 3), say='a single shape is returned as it is'),
            call('broadcast_shape', (), (), say='numbers have no axes'),
            call('broadcast_shape', (1, 1), (1,), say='only ones give ones'),
            call('broadcast_shape', (0,), (1,), say='a size of 1 is stretched to 0 too'),
            case('the result is a torch.Size, which knows its number of entries', kind),
            call('broadcast_shape', (3, 2), (2, 3), raises=ValueError, names=('axis -1', 'do not broadcast', '(3, 2)', '(2, 3)'), say='sizes that differ are refused, with the axis counted from the last and the shapes'),
            call('broadcast_shape', (2, 1), (3, 4, 5), raises=ValueError, names='axis -2', say='the axis is named where it does not fit'),
            call('broadcast_shape', (2,), (1,), (3,), raises=ValueError, names='axis -1', say='the second and the third shape may be the ones that do not fit'),
            call('broadcast_shape', (0,), (2,), raises=ValueError, names='axis -1', say='0 and 2 do not fit'),
            call('broadcast_shape', (-1, 3), (3,), raises=ValueError, names='-1', say='negative sizes are refused')]


A, B, SQUARE, V = randn(3, 4), randn(4, 5, seed=1), randn(4, 4, seed=2), randn(4, seed=3)
BATCH_A, BATCH_B = randn(2, 3, 4, seed=4), randn(2, 4, 5, seed=5)
CUBE, BRICK = randn(2, 2, 2), randn(2, 3, 2, seed=1)

def same_memory(m):
    "Whether the numbers of the result are those of the tensor itself."
    t = torch.zeros(2, 3, 3)
    m._align(t, 'ijj', 'jki').fill_(7.)
    return t

def distinct_letters(m):
    "Axes in the order of their letters, whatever order they come out in."
    res = {}
    for letters, t in dict(ij=BRICK[0], iji=BRICK, iii=CUBE, iijj=torch.arange(36.).view(2, 2, 3, 3)).items():
        new, rest = m._diagonal(t, letters)
        res[letters] = [''.join(sorted(rest)), new.permute([rest.index(c) for c in sorted(rest)])]
    return res

@entry('01.3', level=2, minutes=25, hints=[
    'Once every operand has an axis for every letter, in the same order, broadcasting multiplies them. What may stand in an operand that lacks a letter? And what does a letter that it has twice select?',
    'A letter that comes twice selects the diagonal: `t.diagonal(dim1=..., dim2=...)` takes two axes away and puts theirs at the end. Repeat it until each letter comes once, and keep the string of letters in step.',
    'Then `permute` the axes that are there into the order, and index with a tuple that holds `slice(None)` for a letter that is there and None, which makes an axis of size 1, for one that is not.'],
    why='All of it is bookkeeping on views: no number is copied or touched before the product. `diagonal` puts the new axis last, so its letter goes to the end of the string too; forget that, and a third occurrence is looked for at the wrong axis.')
def align():
    return [call('_align', A, 'ij', 'ij', say='letters in the right order already'),
            call('_align', A, 'ij', 'ji', say='axes come in the order of the letters'),
            call('_align', A, 'ik', 'ijk', say='a letter that is lacking is an axis of size 1, at its place'),
            call('_align', V, 'j', 'ijk', say='several letters are lacking'),
            call('_align', torch.tensor(3.), '', 'ij', say='a number has axes of size 1 only'),
            call('_align', BRICK, 'abc', 'cab', say='three axes take their places'),
            call('_align', SQUARE, 'ii', 'i', say='a letter twice is the diagonal'),
            call('_align', BRICK, 'iji', 'ij', say='a diagonal beside another axis'),
            call('_align', CUBE, 'iii', 'i', say='a letter three times'),
            case('_diagonal leaves each letter once, with its axis', distinct_letters),
            case('nothing is copied: writing to the result writes to the tensor', same_memory)]


@entry('01.4', level=3, minutes=30, hints=[
    'For `_align` you need one list of all letters, the same for every operand. Which letters come first, so that the axes to be summed stand together at the end?',
    'The order is the letters of the result, then the other letters. Align all operands to it, multiply them with one another (broadcasting does the rest), and sum over the last axes. What if there is none to sum over?',
    'Before that, the door: collect the size of each letter in a dict, in one pass over operands and letters. An operand with another number of axes than letters, or a letter that comes with a second size (1 counts as one), is a ValueError.'],
    why='A sum over an empty tuple of axes sums over all axes in PyTorch, hence the early return. torch.einsum stretches axes of size 1; ours refuses them, because a letter that stands for two sizes is more often a mistake than a wish.')
def einsum():
    return [call('einsum', 'i,i->i', V, V + 1, say='letters that meet are multiplied'),
            call('einsum', 'i,i->', V, V + 1, say='a letter missing from the result is summed over'),
            call('einsum', 'i,j->ij', V, A[:, 0], say='where nothing is summed, each pair is multiplied'),
            call('einsum', 'ij->ji', A, say='the result has the order of its letters'),
            call('einsum', 'ij->j', A, say='one operand alone: the sum over its rows'),
            call('einsum', 'ik,kj->ij', A, B, say='the matrix product', grad=True),
            call('einsum', 'kj,ik->ij', B, A, say='the matrix product, the second factor first'),
            call('einsum', 'ik,kj', A, B, say='without an arrow, the letters that occur once, sorted'),
            call('einsum', 'ba', A, say='without an arrow, sorted also for a single operand'),
            call('einsum', 'ii', SQUARE, say='a letter twice in one operand: the trace'),
            call('einsum', 'ii->i', SQUARE, say='a letter twice in one operand: the diagonal'),
            call('einsum', 'bik,bkj->bij', BATCH_A, BATCH_B, say='a batch of matrix products'),
            call('einsum', 'i,ij,j', V, SQUARE, V, say='three operands'),
            call('einsum', 'bik,bkj->', BATCH_A, BATCH_B, say='several letters are summed at once', rtol=1e-3),
            call('einsum', ',i->i', torch.tensor(2.), V, say='an operand without axes is a factor'),
            call('einsum', 'ik,kj->ij', torch.zeros(2, 0), torch.zeros(0, 3), say='a sum over no entries is 0'),
            call('einsum', 'ik,kj->ij', torch.tensor([[1, 2]]), torch.tensor([[3], [4]]), say='whole numbers stay whole'),
            call('einsum', 'ik,kj->ij', A, B[:3], raises=ValueError, names=("axis 'k'", '3', '4'), say='a letter with two sizes is refused, with the letter and both sizes'),
            call('einsum', 'ik,kj->ij', A, B[:1], raises=ValueError, names="axis 'k'", say='a size of 1 is not stretched'),
            call('einsum', 'ii->i', A, raises=ValueError, names="axis 'i'", say='the diagonal of a matrix that is not square is refused'),
            call('einsum', 'i->i', A, raises=ValueError, names='names 1 axes', say='an operand with more axes than letters is refused'),
            call('einsum', 'ijk->i', A, raises=ValueError, names='names 3 axes', say='an operand with fewer axes than letters is refused'),
            call('einsum', 'ik,kj->ij', A, raises=ValueError, names='describes 2 operands', say='an operand too few is refused')]


@entry('01.5', level=1, minutes=10, hints=[
    'The product itself is one operator. What did the seven versions of this lesson do with shapes that do not fit, and what should the last one do?',
    'Two doors: both arguments must have two axes, and axis 1 of a must be axis 0 of b. A ValueError each, in which argument and shape are named.',
    'A loop over the names and tensors for the first door: "a has shape ..."; then compare the inner sizes: "axis 1 of a is ..., axis 0 of b is ...". Then `@`.'],
    why='BLAS would refuse most of these shapes too, but in its own words, and it would accept vectors and batches, which mean something else. A door that names the argument is read once; a message about mat1 and mat2 is searched for.')
def matmul():
    return [call('matmul', torch.tensor([[1., 2.]]), torch.tensor([[3.], [4.]]), say='one row by one column'),
            call('matmul', torch.tensor([[1., 2.], [0., 1.]]), torch.tensor([[1., 0.], [3., 1.]]), say='rows of a by columns of b'),
            call('matmul', A, B, say='(n,k) by (k,m) gives (n,m)', grad=True),
            call('matmul', randn(4, 3).T, B, say='a transposed view is multiplied like any matrix'),
            call('matmul', torch.tensor([[2**53 + 1]]), torch.tensor([[1]]), say='whole numbers are multiplied exactly'),
            call('matmul', A.double(), B.double(), say='float64 stays float64'),
            call('matmul', torch.zeros(2, 0), torch.zeros(0, 3), say='a sum over no entries is 0'),
            call('matmul', A, B.T, raises=ValueError, names=('axis 1 of a is 4', 'axis 0 of b is 5'), say='inner sizes that differ are refused, and named'),
            call('matmul', A, B[:1], raises=ValueError, names='axis 0 of b is 1', say='a single row is not stretched'),
            call('matmul', V, B, raises=ValueError, names=('a has shape', '(4,)'), say='a vector on the left is refused'),
            call('matmul', A, V, raises=ValueError, names=('b has shape', '(4,)'), say='a vector on the right is refused'),
            call('matmul', BATCH_A, BATCH_B, raises=ValueError, names='a has shape', say='batches are refused')]
