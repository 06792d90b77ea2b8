#!/usr/bin/env python3
"""Recurrent layers in training, beside PyTorch's and fastai's, in tokens a second.

1. Two LSTM layers, 200-400-200, batch 64, 70 steps, forward and backward. The bar: `LSTM` at most 1.1 times nn.LSTM,
   with or without other weights passed in.
2. A language model of these layers with tied embedding, vocabulary 8,000, dropout left out, with an SGD step; fastai's
   AWD-LSTM with its dropouts where fastai is installed. The lesson on AWD-LSTM wants 1.3 times fastai's tokens a second.
3. The scan of the QRNN against loops, by width of a step: from `_BUSY` elements a step the package takes its own loop.

OMP_NUM_THREADS sets the threads. `--compile` adds a cell whose elementwise part went through torch.compile.
"""
import argparse, importlib.util, platform

import torch
import torch.nn.functional as F
from torch import nn

from mylib.core import bench, set_seed
from mylib.rnn import _BUSY, LSTM, QRNN, _scan_pairs, _scan_steps


def point(g, c):
    i, f, z, o = g.chunk(4, 1)
    c = f.sigmoid()*c + i.sigmoid()*z.tanh()
    return o.sigmoid()*c.tanh(), c


class Compiled(nn.Module):
    "An LSTM layer in a loop, elementwise part compiled."
    def __init__(self, layer, f): super().__init__(); self.layer, self.f = layer, f

    def forward(self, x):
        w_ih, w_hh, b_ih, b_hh = self.layer.parameters()
        h = c = x.new_zeros(len(x), w_hh.shape[1])
        outs = []
        for g in F.linear(x, w_ih, b_ih + b_hh).unbind(1):
            h, c = self.f(torch.addmm(g, h, w_hh.T), c)
            outs.append(h)
        return torch.stack(outs, 1), (h, c)


class HandBackward(torch.autograd.Function):
    "An LSTM layer in a loop whose backward pass is written out, with one product for each weight gradient."
    @staticmethod
    def forward(ctx, x, w, u, b): # x (t,n,d)
        t, n, d = x.shape
        g = F.linear(x, w, b)
        hs, cs, tc = x.new_zeros(t + 1, n, u.shape[1]), x.new_zeros(t + 1, n, u.shape[1]), x.new_empty(t, n, u.shape[1])
        gates = g.chunk(4, 2)
        for k in range(t):
            g[k].addmm_(hs[k], u.T)
            i, f, z, o = (a[k] for a in gates)
            i.sigmoid_(); f.sigmoid_(); z.tanh_(); o.sigmoid_()
            torch.mul(f, cs[k], out=cs[k + 1]).addcmul_(i, z)
            torch.tanh(cs[k + 1], out=tc[k])
            torch.mul(o, tc[k], out=hs[k + 1])
        ctx.save_for_backward(x, w, u, g, hs, cs, tc)
        return hs[1:]

    @staticmethod
    def backward(ctx, grad):
        x, w, u, g, hs, cs, tc = ctx.saved_tensors
        i, f, z, o = g.chunk(4, 2)
        by_c = o*(1 - tc*tc)
        slopes = z*i*(1 - i), cs[:-1]*f*(1 - f), i*(1 - z*z), tc*o*(1 - o)
        dg, dh, dc = torch.empty_like(g), torch.zeros_like(grad[0]), torch.zeros_like(grad[0])
        parts = dg.chunk(4, 2)
        for k in range(len(x) - 1, -1, -1):
            dh = dh + grad[k]
            dc = torch.addcmul(dc, dh, by_c[k])
            for part, slope, d in zip(parts, slopes, (dc, dc, dc, dh), strict=True): torch.mul(d, slope[k], out=part[k])
            dc, dh = dc*f[k], dg[k] @ u
        flat = dg.flatten(0, 1)
        return (flat @ w).view_as(x), flat.T @ x.flatten(0, 1), flat.T @ hs[:-1].flatten(0, 1), flat.sum(0)


class Hand(nn.Module):
    def __init__(self, layer): super().__init__(); self.layer = layer

    def forward(self, x):
        w_ih, w_hh, b_ih, b_hh = self.layer.parameters()
        return HandBackward.apply(x.transpose(0, 1).contiguous(), w_ih, w_hh, b_ih + b_hh).transpose(0, 1), None


class Dropped(nn.Module):
    "A layer with half of its recurrent weights dropped anew in each call, by `how`."
    def __init__(self, layer, how): super().__init__(); self.layer, self.how = layer, how

    def forward(self, x): return self.how(self.layer, x, {'weight_hh_l0': F.dropout(self.layer.weight_hh_l0, 0.5)})


class Two(nn.Module):
    def __init__(self, one, two): super().__init__(); self.one, self.two = one, two

    def forward(self, x): return self.two(self.one(x)[0])[0]


class LM(nn.Module):
    def __init__(self, rnn, n_vocab, d):
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(n_vocab, d), rnn, nn.Linear(d, n_vocab)
        self.out.weight = self.embed.weight

    def forward(self, x): return self.out(self.rnn(self.embed(x)))


def table(fs, tokens, rounds):
    t = bench(fs, rounds=rounds, min_time=0)
    t['tokens/s'] = (tokens/t.ms*1e3).round(-1).astype(int)
    print(t.round(3).to_string(), end='\n\n')
    return t


def layers(n, t, rounds, compiled):
    set_seed(0)
    theirs = [nn.LSTM(200, 400, batch_first=True), nn.LSTM(400, 200, batch_first=True)]
    def ours(**kw):
        made = [LSTM(200, 400, **kw), LSTM(400, 200, **kw)]
        for a, b in zip(made, theirs, strict=True): a.load_state_dict(b.state_dict())
        return made
    x = torch.randn(n, t, 200, requires_grad=True)
    nets = {'nn.LSTM': Two(*theirs), 'LSTM': Two(*ours()), 'LSTM, weights=': Two(*(Dropped(m, lambda m, x, w: m(x, weights=w)) for m in ours())),
            'nn.LSTM, functional_call': Two(*(Dropped(m, lambda m, x, w: torch.func.functional_call(m, w, (x,))) for m in theirs)),
            'LSTM, fused=False': Two(*ours(fused=False)), 'backward by hand': Two(*map(Hand, theirs))}
    if compiled:
        f = torch.compile(point, dynamic=False)
        nets['compiled elementwise part'] = Two(*(Compiled(m, f) for m in theirs))
    nets['QRNN'] = Two(QRNN(200, 400), QRNN(400, 200))
    for k in ('LSTM', 'LSTM, fused=False', 'backward by hand', *(['compiled elementwise part'] if compiled else [])):
        torch.testing.assert_close(nets[k](x), nets['nn.LSTM'](x), rtol=1e-4, atol=1e-5)
    def step(net): return lambda: net(x).sum().backward()
    fs = {k: step(net) for k, net in nets.items()}
    def no_onednn():
        with torch.backends.mkldnn.flags(enabled=False): fs['LSTM']()
    def bf16():
        with torch.autocast('cpu', torch.bfloat16): out = nets['LSTM'](x)
        out.float().sum().backward()
    r = table({**fs, 'LSTM, without oneDNN': no_onednn, 'LSTM, bfloat16 autocast': bf16}, n*t, rounds)
    print(f'LSTM / nn.LSTM: {r.ratio["LSTM"]:.3f}, with weights=: {r.ratio["LSTM, weights="]:.3f} (bar: 1.1)\n')


def language_models(n, t, rounds, n_vocab=8000):
    set_seed(0)
    ids = torch.randint(n_vocab, (n, t + 1))
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].flatten()
    drop = lambda m: Dropped(m, lambda m, x, w: m(x, weights=w))
    nets = {'nn.LSTM': LM(Two(nn.LSTM(200, 400, batch_first=True), nn.LSTM(400, 200, batch_first=True)), n_vocab, 200),
            'LSTM': LM(Two(LSTM(200, 400), LSTM(400, 200)), n_vocab, 200), 'LSTM, weight dropout': LM(Two(drop(LSTM(200, 400)), drop(LSTM(400, 200))), n_vocab, 200)}
    if importlib.util.find_spec('fastai'):
        from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, get_language_model
        nets["fastai's AWD_LSTM"] = get_language_model(AWD_LSTM, n_vocab, config={**awd_lstm_lm_config, 'emb_sz': 200, 'n_hid': 400, 'n_layers': 2})
    else: print('fastai is not installed (pip install fastai) and left out')
    def step(net, bf16=False):
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        net.train()
        def f():
            if hasattr(net, 'reset'): net.reset()
            with torch.autocast('cpu', torch.bfloat16, enabled=bf16): out = net(x)
            out = out[0] if isinstance(out, tuple) else out
            F.cross_entropy(out.flatten(0, 1).float(), y).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            opt.step()
            opt.zero_grad()
        return f
    table({**{k: step(net) for k, net in nets.items()}, 'LSTM, bfloat16 autocast': step(nets['LSTM'], bf16=True)}, n*t, rounds)


def scans(rounds):
    for width, t in ((w, t) for w in (_BUSY//8, _BUSY, 8*_BUSY) for t in (70, 512)):
        a, b = torch.rand(16, t, width//16), torch.randn(16, t, width//16)
        r = bench({'rounds of pairs': lambda a=a, b=b: _scan_pairs(a, b), 'steps': lambda a=a, b=b: _scan_steps(a, b)}, rounds=rounds)
        print(f'scan of {t} steps, {width:,} elements each: ' + ', '.join(f'{k} {v:.2f} ms' for k, v in r.ms.items()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=7)
    p.add_argument('--batch', type=int, default=64)
    p.add_argument('--steps', type=int, default=70)
    p.add_argument('--compile', action='store_true')
    a = p.parse_args()
    layers(a.batch, a.steps, a.rounds, a.compile)
    language_models(a.batch, a.steps, a.rounds)
    scans(a.rounds)
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads')


if __name__ == '__main__': main()
