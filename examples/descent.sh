#!/bin/sh
# What command.yaml runs: gradient descent with momentum on (x - 3)^2 / 2 with noisy gradients, in awk.
# usage: descent.sh RATE MOMENTUM SEED
awk -v rate="$1" -v momentum="$2" -v seed="$3" 'BEGIN {
    srand(seed)
    x = 0; velocity = 0; steps = 200
    for (step = 1; step <= steps; step++) {
        velocity = momentum * velocity - rate * (x - 3 + rand() - 0.5)
        x += velocity
        if (step > steps / 2) error += (x - 3) ^ 2
    }
    printf "{\"excess\": %.17g, \"last\": %.17g}\n", 2 * error / steps, x
}'
