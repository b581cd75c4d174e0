module keepwarm.invalid/bench

go 1.22
