"Lesson 01: matrix multiplication."
import torch

from mylib.judge import call, case, entry, randn


def kind(m): return m.broadcast_shape((2, 1), (3,)).numel()

@entry('01.1', level=2, minutes=20, hints=[
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

@entry('01.2', level=3, minutes=30, hints=[
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


@entry('01.3', level=1, minutes=10, hints=[
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
