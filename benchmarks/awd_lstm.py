#!/usr/bin/env python3
"""Training an AWD-LSTM language model beside fastai's, in tokens a second.

Embedding 200, hidden 400, two layers, vocabulary 8,000, batch 64 x bptt 70, Adam, AR and TAR, fastai's dropout probabilities;
each call is one `fit` of a few batches through the Learner of either library, validation left out. fastai: `AWD_LSTM` and
`LinearDecoder` with `ModelResetter`, `RNNCallback` and `RNNRegularizer`. Each has a process of its own, since what one does to the
allocator would serve the other too (`Learner.fit` has it keep freed memory); they take turns. The bar: at least 1.3 times fastai's
tokens a second on two cores.

The rungs: our model with logits and the ordinary loss; with `linear_cross_entropy`, which is the default; and that under bfloat16.
Then the loss alone, by the number of scores that are held at once. OMP_NUM_THREADS sets the threads.
"""
import argparse, importlib.util, multiprocessing, platform
from concurrent.futures import ProcessPoolExecutor

import mylib.awd_lstm as awd
import torch
import torch.nn.functional as F
from mylib.awd_lstm import AWDLSTM, LanguageModel, ResetCB, RNNRegularizerCB, linear_cross_entropy, lm_loss
from mylib.core import bench, set_seed
from mylib.learner import Learner
from mylib.optim import Adam
from mylib.precision import MixedPrecisionCB

DROPS = dict(hidden_p=0.15, input_p=0.25, embed_p=0.02, weight_p=0.2)  # fastai's awd_lstm_lm_config; output_p is 0.1


def plain_loss(out, targets): return F.cross_entropy(out.logits().flatten(0, 1), targets.flatten())


def ours(batches, a, loss_func=lm_loss, cbs=()):
    set_seed(0)
    model = LanguageModel(AWDLSTM(a.vocab, a.emb, a.hidden, a.layers, **DROPS), 0.1)
    learn = Learner(model, (batches, None), loss_func, 1e-3, opt_func=Adam, cbs=[ResetCB(), RNNRegularizerCB(2., 1.), *cbs], device='cpu')
    def fit():
        with learn.no_progress(): learn.fit(1)
    return fit


def fastais(batches, a):
    from fastai.callback.progress import ProgressCallback
    from fastai.text.all import AWD_LSTM, Adam, CrossEntropyLossFlat, DataLoaders, Learner, awd_lstm_lm_config, get_language_model, rnn_cbs
    class Batches:
        device, bs = torch.device('cpu'), len(batches[0][0])
        def __len__(self): return len(batches)
        def __iter__(self): return iter(batches)
    set_seed(0)
    model = get_language_model(AWD_LSTM, a.vocab, config=awd_lstm_lm_config | dict(emb_sz=a.emb, n_hid=a.hidden, n_layers=a.layers))
    learn = Learner(DataLoaders(Batches(), None), model, loss_func=CrossEntropyLossFlat(), opt_func=Adam, cbs=rnn_cbs(2., 1.))
    if hasattr(learn, 'progress'): learn.remove_cb(ProgressCallback)
    learn._do_epoch_validate = lambda *args, **kwargs: None
    def fit():
        with learn.no_logging(): learn.fit(1, 1e-3)
    return fit


RUNGS = {'fastai': fastais, 'ours, logits and cross_entropy': lambda b, a: ours(b, a, plain_loss), 'ours': ours,
         'ours, bfloat16': lambda b, a: ours(b, a, cbs=[MixedPrecisionCB('bf16')])}


def prepare(name, a):
    "Make the `fit` of this process."
    global fit
    set_seed(0)
    ids = torch.randint(10, a.vocab, (a.batch, a.batches*a.bptt + 1))
    fit = RUNGS[name]([(ids[:, k:k + a.bptt].contiguous(), ids[:, k + 1:k + a.bptt + 1].contiguous()) for k in range(0, a.batches*a.bptt, a.bptt)], a)


def run(): fit()


def training(a):
    fs = dict(RUNGS)
    if not importlib.util.find_spec('fastai'):
        print('fastai is not installed (pip install fastai) and left out')
        del fs['fastai']
    pools = {name: ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), prepare, (name, a)) for name in fs}
    t = bench({name: lambda p=pool: p.submit(run).result() for name, pool in pools.items()}, rounds=a.rounds, min_time=0)
    for pool in pools.values(): pool.shutdown()
    t['tokens/s'] = (a.batch*a.bptt*a.batches/t.ms*1e3).round(-1).astype(int)
    print(t.round(3).to_string())
    if 'fastai' in fs: print(f"tokens a second, ours / fastai: {1/t.ratio['ours']:.3f} (bar: 1.3); in bfloat16: {1/t.ratio['ours, bfloat16']:.3f}")
    print()


def losses(a):
    set_seed(0)
    n = a.batch*a.bptt
    h, w, b = torch.randn(n, a.emb, requires_grad=True), (torch.randn(a.vocab, a.emb)/10).requires_grad_(), torch.zeros(a.vocab, requires_grad=True)
    y = torch.randint(a.vocab, (n,))
    def chunks(k):
        def f():
            awd._CHUNK['cpu'] = 2**k
            linear_cross_entropy(h, w, y, b).backward()
        return f
    kept = awd._CHUNK['cpu']
    def products():
        with torch.no_grad(): z = h @ w.T; z @ w; z.T @ h
    print(bench({'F.linear, F.cross_entropy': lambda: F.cross_entropy(F.linear(h, w, b), y).backward(), **{f'chunks of 2**{k}': chunks(k) for k in (19, 20, 21, 22, 23)},
                 'the three products alone': products}, rounds=a.rounds, min_time=0).round(3).to_string(), end='\n\n')
    awd._CHUNK['cpu'] = kept


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k, v in dict(rounds=5, batches=4, batch=64, bptt=70, vocab=8000, emb=200, hidden=400, layers=2).items(): p.add_argument(f'--{k}', type=int, default=v)
    a = p.parse_args()
    training(a)
    losses(a)
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads')


if __name__ == '__main__': main()
