"Wrong answers to the exercises of lesson 07; see 03_losses.py for the form."

FUSED = 'return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, m, self.eps)'
HAND = '''dims = [0, *range(2, x.ndim)]
        if self.training:
            mean, var = _wide(x).mean(dims), _wide(x).var(dims, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), m)
                self.running_var.lerp_(_wide(x).var(dims).to(self.running_var.dtype), m)
        else: mean, var = self.running_mean, self.running_var
        out = (_wide(x) - _column(mean, x))/(_column(var, x) + self.eps).sqrt()
        if self.weight is not None: out = out*_column(self.weight, x) + _column(self.bias, x)
        return out.to(x.dtype)'''

DIFFERENCES = 'd = wide - wide.mean(dims, keepdim=True)\n    out = d/((d*d).mean(dims, keepdim=True) + eps).sqrt()'

WRONG = {
    '07.1': [
        (FUSED, HAND.replace('.var(dims, correction=0)', '.var(dims)'), 'the variance is the biased one'),
        (FUSED, HAND.replace('_wide(x).mean(dims), _wide(x).var(dims, correction=0)', '_wide(x).mean(dims).detach(), _wide(x).var(dims, correction=0).detach()'), 'the gradient of x'),
        (FUSED, HAND.replace('lerp_(_wide(x).var(dims)', 'lerp_(var'), 'the unbiased variance'),
        (FUSED, HAND.replace('.sqrt()', '.sqrt()').replace('(_column(var, x) + self.eps).sqrt()', '(_column(var, x).sqrt() + self.eps)'), 'eps is added to the variance'),
        (FUSED, HAND.replace('return out.to(x.dtype)', 'return out'), 'dtype float32 instead of bfloat16'),
        (FUSED, HAND.replace('[0, *range(2, x.ndim)]', '[0, 2, 3]'), 'got       IndexError'),
        (FUSED, HAND.replace('with torch.no_grad():', 'if True:').replace('lerp_(mean.to(self.running_mean.dtype), m)', 'copy_(self.running_mean.lerp(mean, m))'), 'the buffers keep no graph'),
        ('self.bias, self.training, m', 'self.bias, True, m', 'evaluation uses the estimates'),
        ('self.training, m, self.eps', 'self.training, 1 - m, self.eps', 'take in a tenth of the batch'),
        ('if self.momentum is None else self.momentum', 'if not self.momentum else self.momentum', 'momentum=0 leaves the estimates'),
        ('1/self.num_batches_tracked.item() if', '0.1 if', 'the plain average of all batches'),
        ('self.num_batches_tracked.add_(1)\n', 'pass\n', 'num_batches_tracked'),
        ('            _check_values(self, x, x.numel()//self.n)\n            self.num_batches_tracked.add_(1)\n', '            self.num_batches_tracked.add_(1)\n            _check_values(self, x, x.numel()//self.n)\n', 'a batch that is refused is not counted'),
        ('        m = 0.\n        if self.training:\n            _check_values(self, x, x.numel()//self.n)\n', '        m = 0.\n        _check_values(self, x, x.numel()//self.n)\n        if self.training:\n', 'a single image is welcome'),
        ("self.register_buffer('running_var', torch.ones(n))", "self.register_buffer('running_var', torch.zeros(n))", 'running_var'),
        ("self.register_buffer('running_mean', torch.zeros(n))", 'self.running_mean = torch.zeros(n)', 'keys'),
        ('self.running_var.fill_(1); ', '', 'goes back to mean 0, variance 1'),
        ('if affine else None)\n        self.register_buffer', ')\n        self.register_buffer', 'affine=False'),
        ('self.training, m, self.eps)', 'self.training, m)', 'eps is added'),
    ],
    '07.2': [
        ('(d*d).mean(dims, keepdim=True)', 'wide.var(dims, keepdim=True)', 'the variance is the biased one'),
        (DIFFERENCES, 'out = (wide - wide.mean(dims, keepdim=True))/((wide*wide).mean(dims, keepdim=True) - wide.mean(dims, keepdim=True)**2 + eps).sqrt()', 'a mean far from zero'),
        ('((d*d).mean(dims, keepdim=True) + eps).sqrt()', '((d*d).mean(dims, keepdim=True).sqrt() + eps)', 'under the root'),
        ('((d*d).mean(dims, keepdim=True) + eps)', '((d*d).detach().mean(dims, keepdim=True) + eps)', 'the gradient flows through mean and variance'),
        ('wide.mean(dims, keepdim=True)', 'wide.mean(-1, keepdim=True)', 'over all axes of dims'),
        ('wide = _wide(x)', 'wide = x', 'do not overflow'),
        ('return out.to(x.dtype)', 'return out', 'dtype float32 instead of'),
        ('wide = _wide(x)', 'wide = x.float()', 'float64 stays float64'),
        ('    if weight is not None: out = out*weight\n    if bias is not None: out = out + bias\n', '    if weight is not None: out = out*weight + (0 if bias is None else bias)\n', 'also without a weight'),
        ('    if weight is not None: out = out*weight\n    if bias is not None: out = out + bias\n', '    if bias is not None: out = out + bias\n    if weight is not None: out = out*weight\n', 'weight first, then bias'),
        ('d = wide - wide.mean(dims, keepdim=True)', 'd = wide.sub_(wide.mean(dims, keepdim=True))', 'x, afterwards'),
    ],
    '07.3': [
        ('F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)', 'F.layer_norm(x, x.shape[1:], None, None, self.eps)*self.weight + self.bias', 'each position has a mean'),
        ('F.layer_norm(x, self.normalized_shape, self.weight', 'F.layer_norm(x, self.normalized_shape, None', 'gradients of x, weight and bias'),
        ('F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)', '(x - x.mean(-1, keepdim=True))/(x.var(-1, keepdim=True) + self.eps).sqrt()*self.weight + self.bias', 'each position has a mean'),
        ('F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)', '(x - x.mean(-1, keepdim=True))/(x.var(-1, keepdim=True, correction=0) + self.eps).sqrt()*self.weight + self.bias', 'over all of these axes together'),
        (', self.bias, self.eps)', ', self.bias)', 'eps is added'),
        ('if tuple(x.shape[-k:]) != self.normalized_shape:', 'if False:', 'another kind of error'),
        ('if tuple(x.shape[-k:]) != self.normalized_shape:', 'if x.numel() % math.prod(self.normalized_shape):', 'nothing is broadcast'),
        ('_check_float(self, x)\n', 'pass\n', 'whole numbers are refused'),
        ("if not shape: raise ValueError('normalized_shape is empty; expected the size of at least one axis')", 'pass', 'no axis at all'),
        ('if isinstance(normalized_shape, int) else tuple(normalized_shape)', 'if not isinstance(normalized_shape, tuple) else normalized_shape', 'a list does as well'),
    ],
    '07.4': [
        ('F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)', 'F.batch_norm(x, None, None, self.weight, self.bias, True, 0., self.eps)', 'each channel of each image'),
        ('F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)', 'F.layer_norm(x, x.shape[1:], eps=self.eps)', 'each channel of each image'),
        ('affine:bool=False', 'affine:bool=True', 'nothing to learn'),
        ('weight=self.weight, bias=self.bias, ', '', 'a weight and a bias for each channel'),
        ('_check_channels(self, x, self.n, min_ndim=3)', '_check_float(self, x)', 'a wrong number of channels is refused'),
        ('_check_values(self, x, math.prod(x.shape[2:]))', '_check_values(self, x, x.numel()//self.n)', 'a single place for each mean'),
        ('_check_values(self, x, math.prod(x.shape[2:]))', 'if self.training: _check_values(self, x, math.prod(x.shape[2:]))', 'also in evaluation'),
        ('math.prod(x.shape[2:])', 'x.shape[2]*x.shape[3]', 'got       IndexError'),
        (', eps=self.eps)', ')', 'eps is added'),
    ],
    '07.5': [
        ('F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)',
         'F.group_norm(x.unflatten(1, (-1, self.num_groups)).transpose(1, 2).flatten(1, 2), self.num_groups, None, None, self.eps).unflatten(1, (self.num_groups, -1)).transpose(1, 2).flatten(1, 2)*self.weight.view(1, -1, *[1]*(x.ndim - 2)) + self.bias.view(1, -1, *[1]*(x.ndim - 2))',
         'groups are of neighbouring channels'),
        ('F.group_norm(x, self.num_groups', 'F.group_norm(x, self.n//self.num_groups', 'three channels shares one mean'),
        ('F.group_norm(x, self.num_groups', 'F.group_norm(x, 1', 'groups are of neighbouring channels'),
        ('if n % num_groups: raise', 'if False: raise', 'bad input is accepted'),
        ('if n % num_groups: raise', 'if n > num_groups and n % num_groups: raise', 'more groups than channels'),
        ('_check_values(self, x, math.prod(x.shape[1:])//self.num_groups)', 'pass', 'one value for each mean'),
        ('math.prod(x.shape[1:])//self.num_groups', 'math.prod(x.shape[2:])', 'got       ValueError'),
        ('nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))', 'nn.Parameter(torch.ones(num_groups)), nn.Parameter(torch.zeros(num_groups))', 'got       RuntimeError'),
        (', self.bias, self.eps)', ', self.bias)', 'eps is added'),
    ],
    '07.6': [
        ('correction=0', 'correction=1', 'its variance with n below'),
        (' + a*(1 - a)*delta**2', '', 'the distance between the means'),
        (' + a*(1 - a)*delta**2', ' + a*delta**2', 'its own mean'),
        ('count = (1 - m)*count + new', 'count = count + new', 'the past counts 1 - m'),
        ('    a = new/count\n', '    a = m\n', 'its own mean'),
        ('m*(x.numel()//x.shape[1])', 'm*len(x)', 'places count as values'),
        ('dims = [0, *range(2, x.ndim)]', 'dims = [0]', 'places count as values'),
        ('torch.var_mean(x, dims', 'torch.var_mean(x.detach(), dims', 'the gradient of the batch'),
        ('return mean + a*delta, var + a*(batch_var - var) + a*(1 - a)*delta**2, count',
         'square = (1 - a)*(var + mean**2) + a*(batch_var + batch_mean**2)\n    mean = mean + a*delta\n    return mean, square - mean**2, count', 'costs few digits'),
        ('return mean + a*delta, var +', 'mean += a*delta\n    return mean, var +', 'mean, afterwards'),
    ],
    '07.7': [
        ('            with torch.no_grad():\n                for buf, new in ((self.running_mean, mean), (self.running_var, var), (self.count, count)): buf.copy_(new)\n',
         '            with torch.no_grad():\n                for buf, new in ((self.running_mean, mean), (self.running_var, var), (self.count, count)): buf.copy_(new)\n            mean, var = _wide(self.running_mean), _wide(self.running_var)\n', 'the gradient of x'),
        ('            with torch.no_grad():\n                for buf, new in ((self.running_mean, mean), (self.running_var, var), (self.count, count)): buf.copy_(new)\n',
         '            self.running_mean, self.running_var, self.count = mean, var, count\n', 'got       RuntimeError'),
        ('(self.running_var, var), (self.count, count)): buf', '(self.running_var, var)): buf', 'the second batch by those of both'),
        ("self.register_buffer('count', torch.zeros(()))", "self.register_buffer('count', torch.ones(()))", 'the first batch is normalised'),
        ("self.register_buffer('count', torch.zeros(()))", "self.count = torch.zeros(())", 'all that is needed to go on'),
        ('_wide(self.count), self.momentum)', '_wide(self.count), 1 - self.momentum)', 'the second batch by those of both'),
        ('mean, var, count = _merge(_wide(x), mean, var, _wide(self.count), self.momentum)',
         'count, dims = self.count + 1, [0, *range(2, x.ndim)]\n            a = self.momentum/(1 - (1 - self.momentum)**count)\n            mean, var = mean.lerp(_wide(x).mean(dims), a), var.lerp(_wide(x).var(dims, correction=0), a)', 'the second batch by those of both'),
        ('if self.training and x.numel():', 'if x.numel():', 'evaluation'),
        ('if self.training and x.numel():', 'if self.training:', 'an empty batch'),
        ("self.register_buffer('running_var', torch.ones(n))", "self.register_buffer('running_var', torch.zeros(n))", 'before any training'),
        ('.to(x.dtype)', '', 'dtype float32 instead of bfloat16'),
        ('(var + self.eps).rsqrt()', 'var.rsqrt()', 'nan'),
        ('if not 0 < momentum <= 1: raise', 'if not 0 <= momentum <= 1: raise', 'a momentum of 0 is refused'),
        ('_check_channels(self, x, self.n)', '_check_values(self, x, x.numel()//self.n)', 'one value has no variance'),
    ],
}
