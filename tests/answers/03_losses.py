"""Wrong answers to the exercises of lesson 03: `(what the reference says, what the learner writes, words that the report must hold)`.

The first of the three is replaced in the reference's cell; where it is None, the second is the whole cell."""

WRONG = {
    '03.1': [
        (None, 'def logsumexp(x, dim=-1): return x.exp().sum(dim).log()', 'large logits do not overflow'),
        ('m = m.masked_fill(m.isinf(), 0)\n', '\n', 'everything is masked'),
        ('(m + (x - m).exp().sum(dim, keepdim=True).log()).squeeze(dim)', 'm + (x - m).exp().sum(dim, keepdim=True).log()', 'an axis of length 1 too many'),
        ('.sum(dim, keepdim=True)', '.sum(-1, keepdim=True)', 'the sum runs over the axis dim'),
        ('.sum(dim, keepdim=True)', '.mean(dim, keepdim=True)', 'two logits of 0 give log 2'),
        ('(x - m).exp()', '(x - m).detach().exp()', 'its gradient is the softmax'),
        ('x.detach().amax(dim, keepdim=True)', 'x.detach().amax()', 'do not disturb each other'),
        (None, 'def logsumexp(x, dim=-1): return x.logsumexp(dim)', 'the gradient is right in bfloat16'),
    ],
    '03.2': [
        ('try: return F.nll_loss(log_probs, targets, ignore_index=ignore_index, reduction=reduction)\n    except IndexError: raise _out_of_range(log_probs, targets, ignore_index) from None',
         'return -log_probs[torch.arange(len(targets)), targets].mean()', "reduction='sum' adds them"),
        ('ignore_index=ignore_index, ', '', 'ignore_index can be another number'),
        ('_door(log_probs, targets)\n', '\n', 'refused at the door'),
        ('F.nll_loss(log_probs', 'F.nll_loss(-log_probs', 'the sign is reversed'),
        ('try: return F.nll_loss(log_probs, targets, ignore_index=ignore_index, reduction=reduction)',
         '''counts = targets != ignore_index
    try:
        losses = -log_probs.gather(1, targets.where(counts, 0).unsqueeze(1)).squeeze(1).where(counts, 0)
        return losses if reduction == 'none' else getattr(losses, reduction)()''', 'the number that the mean divides by'),
        ('try: return F.nll_loss(log_probs, targets, ignore_index=ignore_index, reduction=reduction)\n    except IndexError: raise _out_of_range(log_probs, targets, ignore_index) from None',
         'return F.nll_loss(log_probs, targets, ignore_index=ignore_index, reduction=reduction)', "a message without 'from -1 to 2'"),
    ],
    '03.3': [
        ('F.cross_entropy(logits', 'F.nll_loss(logits', 'cost log 2'),
        ('F.cross_entropy(logits', 'F.nll_loss(logits.log_softmax(-1)', 'over axis 1 when more axes follow'),
        ('F.cross_entropy(logits', 'F.cross_entropy(logits.softmax(1)', 'the mean over the rows'),
        ('F.cross_entropy(logits', 'F.nll_loss(logits.softmax(1).log()', 'huge logits'),
        ('return softmax(logits, dim=1)', 'return softmax(logits)', 'probabilities over axis 1'),
        (', reduction=reduction', '', 'ignore_index and reduction are passed on'),
    ],
    '03.4': [
        ('logits.argmax(1)', 'logits.argmax(-1)', 'the classes are on axis 1'),
        ('/torch.count_nonzero(counts)', '/targets.numel()', 'do not count in the denominator'),
        ('if ignore_index >= 0: hits = hits & counts', 'pass', 'an ignored target is no hit'),
        ('return torch.count_nonzero(hits)/torch.count_nonzero(counts)', 'return (torch.count_nonzero(hits)/torch.count_nonzero(counts)).item()', 'float where a Tensor is expected'),
        ('1 - accuracy(logits, targets, ignore_index)', '1 - accuracy(logits, targets)*0', 'the error rate'),
        ('_door(logits, targets)\n', '\n', 'bad input is accepted'),
    ],
    '03.5': [
        ('label_smoothing=self.eps', 'label_smoothing=0.', 'shared evenly by all classes'),
        ('try: return F.cross_entropy(logits, targets, ignore_index=self.ignore_index, reduction=self.reduction, label_smoothing=self.eps)',
         '''lp, c = logits.log_softmax(1), logits.shape[1]
        hard = F.nll_loss(lp, targets, ignore_index=self.ignore_index, reduction=self.reduction)
        try: return (1 - self.eps)*hard + self.eps*(hard*0 - (lp.sum(1).mean() - lp.gather(1, targets.clamp_min(0).unsqueeze(1)).mean())/(c - 1))''', 'the right one included'),
        ('ignore_index=self.ignore_index, ', '', 'ignore_index is passed on'),
        (', reduction=self.reduction', '', 'ignored targets count for nothing in each reduction'),
        ("if not 0 <= eps <= 1: raise ValueError(f'eps is the share of the target to spread and must be in 0..1, not {eps}')", 'pass', 'bad input is accepted'),
    ],
    '03.6': [
        ('if preds.shape != targets.shape:', 'if False:', 'a column against a row is refused'),
        ('return F.mse_loss(preds, targets, reduction=reduction)', 'return (preds - targets).square().mean()', "reduction='sum' adds them"),
        ('return F.mse_loss(preds, targets, reduction=reduction)', 'return F.mse_loss(preds, targets.detach(), reduction=reduction)', 'the gradient of targets'),
        ('return F.mse_loss(preds, targets, reduction=reduction)', 'return F.l1_loss(preds, targets, reduction=reduction)', 'the square of the difference'),
        ('if not (preds.is_floating_point() and targets.is_floating_point()):', 'if False:', 'integers are refused'),
    ],
}
