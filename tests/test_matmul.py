"Lesson 01: the exported names of mylib.matmul against PyTorch, on shapes that must work and shapes that must fail."
import subprocess, sys

import pytest
import torch
from hypothesis import given, settings, strategies as st

from mylib.matmul import broadcast_shape, einsum, matmul, matmul_work

quick = settings(max_examples=50, deadline=None)
sizes = st.integers(0, 5)
shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def whole_numbers(*shape, seed=0): return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(seed)).double()


@quick
@given(sizes, sizes, sizes)
def test_matmul_equals_torch(n, k, m):
    a, b = whole_numbers(n, k), whole_numbers(k, m, seed=1)
    assert torch.equal(matmul(a, b), torch.matmul(a, b))
    assert torch.equal(matmul(b.t(), a.t()), torch.matmul(a, b).t())


@quick
@given(sizes, sizes, sizes, sizes)
def test_matmul_refuses_inner_sizes_that_differ(n, k, k2, m):
    k2 += k == k2
    with pytest.raises(ValueError, match=rf'a \({n}, {k}\) and b \({k2}, {m}\) do not fit: axis 1 of a is {k}, axis 0 of b is {k2}'):
        matmul(torch.zeros(n, k), torch.zeros(k2, m))


@quick
@given(shapes.filter(lambda s: len(s) != 2))
def test_matmul_takes_matrices_only(shape):
    with pytest.raises(ValueError, match='^a has shape'): matmul(torch.zeros(shape), torch.zeros(2, 2))
    with pytest.raises(ValueError, match='^b has shape'): matmul(torch.zeros(2, 2), torch.zeros(shape))


@quick
@given(st.lists(shapes, max_size=3))
def test_broadcast_shape_equals_torch(drawn):
    try: expected = torch.broadcast_shapes(*drawn)
    except RuntimeError:
        with pytest.raises(ValueError, match='do not broadcast'): broadcast_shape(*drawn)
    else: assert broadcast_shape(*drawn) == expected


@pytest.mark.parametrize('drawn, axis', [([(3, 2), (2, 3)], -1), ([(3, 2), (4, 2)], -2), ([(2, 1, 5), (3, 4, 1)], -3)])
def test_broadcast_shape_names_the_axis(drawn, axis):
    with pytest.raises(ValueError, match=f'axis {axis} has sizes'): broadcast_shape(*drawn)


@st.composite
def einsum_calls(draw):
    size = {c: draw(st.integers(0, 3)) for c in 'abCd'}
    ins = draw(st.lists(st.text(alphabet='abCd', max_size=3), min_size=1, max_size=3))
    used = sorted(set(''.join(ins)))
    out = '' if not used else ''.join(draw(st.lists(st.sampled_from(used), unique=True)))
    equation = ','.join(ins) + draw(st.sampled_from(['', '->' + out]))
    return equation, [whole_numbers(*(size[c] for c in letters), seed=i) for i, letters in enumerate(ins)]


@quick
@given(einsum_calls())
def test_einsum_equals_torch(call):
    equation, operands = call
    expected = torch.einsum(equation, *operands)
    assert torch.equal(einsum(equation, *operands), expected) and einsum(equation, *operands).dtype == expected.dtype


def test_einsum_sums_of_bytes_do_not_wrap():
    pixels = torch.full((3, 3), 200, dtype=torch.uint8)
    for equation in ('ij->', 'ii', 'ij->j'):
        assert torch.equal(einsum(equation, pixels), torch.einsum(equation, pixels))


def test_einsum_passes_gradients():
    a, b = (whole_numbers(*s).requires_grad_() for s in [(2, 3, 4), (2, 4, 5)])
    ours = torch.autograd.grad(einsum('bik,bkj->ij', a, b).pow(2).sum(), (a, b))
    theirs = torch.autograd.grad(torch.einsum('bik,bkj->ij', a, b).pow(2).sum(), (a, b))
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize('equation, message', [
    ('ik,kj->ij', 'describes 2 operands'), ('i->i', 'names 1 axes'), ('ij->iij', 'twice in the result'), ('ij->z', 'no operand has it'),
    ('ii->i', "axis 'i'"), ('...j->j', 'letters of their own'), ('i1->i', 'may hold letters')])
def test_einsum_refuses(equation, message):
    with pytest.raises(ValueError, match=message): einsum(equation, torch.zeros(2, 3))


def test_einsum_does_not_stretch_ones():
    with pytest.raises(ValueError, match="axis 'k'"): einsum('ik,kj->ij', torch.ones(2, 3), torch.ones(1, 4))


@quick
@given(sizes, sizes, sizes)
def test_work(n, k, m):
    flops, nbytes = matmul_work(n, k, m)
    assert flops == n*m*(k + k) and nbytes == sum(torch.zeros(s).nbytes for s in [(n, k), (k, m), (n, m)])
    assert matmul_work(n, k, m, itemsize=2)[1]*2 == nbytes


def test_the_module_does_not_import_numba():
    code = "import mylib.matmul, sys; sys.exit('numba' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], timeout=60).returncode == 0
