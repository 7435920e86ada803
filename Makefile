# Targets only name what is done elsewhere; `make help` lists them.
SHELL     := /bin/sh
GO        ?= go
FUZZTIME  ?= 10s
PATH      := $(PATH):/usr/sbin:/sbin
LAB        = build/lab/bin/lab

# What labs run is built beforehand, by the user; only what makes namespaces is
# started through sudo, which asks once. Root compiles into a cache of its own.
export CLINICGATE_BIN   = $(CURDIR)/build/lab/bin
export CLINICGATE_IMAGE = $(CURDIR)/build/image/qemu-x86_64
ifneq ($(shell id -u),0)
SUDO = sudo --preserve-env=CI,CLINICGATE_LAB,CLINICGATE_BIN,CLINICGATE_IMAGE,PAIR_HOGS,CHAOS env "PATH=$(PATH)" GOCACHE=$(CURDIR)/build/rootcache GOMODCACHE=$(shell $(GO) env GOMODCACHE)
EXEC = -exec '$(SUDO)'
endif

PAIR_HOGS ?= 10m
export PAIR_HOGS

.PHONY: help deps build image run lab stop test check bench-boot bench-tunnel bench-wan bench-pair bench-card bench-drain bench-ux screens fuzz lock clean bench-update chaos-update repro
.PHONY: bench-queue chaos

help: ## this list
	@sed -n 's/^\([a-z-]*\)\(-%\)\{0,1\}:.*## \(.*\)/\1\2|\3/p' Makefile | sed 's/-%/-NAME/' | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

deps: ## install the Debian packages and npm modules that are missing (asks for root once)
	@./image/lab/deps.sh

build: deps ## build all programs, and those of the lab into build/lab/bin
	@echo "building the programs"
	@mkdir -p build/lab/bin
	@$(GO) build ./...
	@$(GO) build -o build/lab/bin/ ./netd ./failoverd ./cardauth ./syncd ./firmware/update ./firmware/panel ./firmware/gatectl ./image ./image/lab ./image/lab/tally golang.zx2c4.com/wireguard

image: deps ## build the image for QEMU into build/image
	@echo "building the image"
	@$(GO) run ./image build -o $(CLINICGATE_IMAGE)

run: build image ## boot the image in QEMU in the clinic and play the morning; CI=true: exit with its verdict; PAIR=1: two images as a pair, the power of one is cut
	@$(SUDO) $(LAB) run -gateway=image $(if $(PAIR),-pair)

lab: build ## the same without images, the programs straight in namespaces: seconds instead of minutes; PAIR=1: two boxes
	@$(SUDO) $(LAB) run -gateway=namespace $(if $(PAIR),-pair)

stop: ## end a lab that was left up
	@$(SUDO) $(LAB) stop

# Labs whose boxes keep time with each other have the machine to themselves.
CLOCKED = clinicgate/netd clinicgate/failoverd
test: build image ## all tests, labs included; with CLINICGATE_LAB=require what can't run fails
	@{ $(GO) test -json -count=1 -timeout 20m -p 1 $(EXEC) $(CLOCKED); \
	   $(GO) test -json -count=1 -timeout 20m $(EXEC) $(filter-out $(CLOCKED),$(shell $(GO) list -e ./...)); \
	} | $(CLINICGATE_BIN)/tally $(GO) test -json -count=1 -timeout 20m $(EXEC)

check: ## gofmt, vet with and without cgo and for both architectures, staticcheck, import floors
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$fmt" ] || { echo "gofmt: $$fmt"; exit 1; }
	CGO_ENABLED=1 $(GO) vet ./...
	CGO_ENABLED=0 GOARCH=amd64 $(GO) vet ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./firmware/arch

bench-boot: deps image ## power-on to ready against a bare kernel, sizes, memory: build/bench/boot.json
	@$(GO) run ./image/lab/bootbench -image $(CLINICGATE_IMAGE)

bench-tunnel: deps ## the tunnel's throughput beside stock wireguard-go: build/bench/tunnel.json
	@$(GO) test ./netd $(EXEC) -run '^$$' -bench '^BenchmarkTunnel$$' -benchtime 1x -timeout 30m

bench-wan: deps ## a provider dies, beside mwan3's method: build/bench/wan.json
	@$(GO) test ./netd $(EXEC) -run '^$$' -bench '^BenchmarkWAN$$' -benchtime 1x -timeout 30m

BENCH ?= .
bench-pair: deps ## a box of the pair dies, beside keepalived and conntrackd: build/bench/pair.json; BENCH=ours/fast: a part
	@$(GO) test ./failoverd $(EXEC) -run '^$$' -bench '^BenchmarkPair$$/$(BENCH)' -benchtime 1x -timeout 60m

bench-card: deps ## insertion, login and removal, local and over a 40 ms link: build/bench/card.json
	@$(GO) test ./cardauth $(EXEC) -run '^$$' -bench '^BenchmarkCard$$' -benchtime 1x -timeout 15m

bench-drain: deps ## a backlog over a thin, lossy line, urgent ECGs and ten cuts beside it: build/bench/drain.json; BACKLOG_MB=200: a smaller one
	@$(GO) test ./syncd $(EXEC) -run '^$$' -bench '^BenchmarkDrain$$' -benchtime 1x -timeout 40m

bench-ux: deps ## the clinic's page over a cold cache, the console at rest, gatectl status: build/bench/ux.json
	@$(GO) test ./firmware/panel -run '^$$' -bench '^BenchmarkPage$$' -benchtime 1x -timeout 10m
	@$(GO) test ./firmware/gatectl -run '^$$' -bench '^BenchmarkConsole$$' -benchtime 1x -timeout 10m

.PHONY: man
man: ## the manual pages of gatectl: build/man/*.8
	@$(GO) run ./firmware/gatectl man build/man

screens: deps ## take the pictures of docs/screens anew
	@mkdir -p docs/screens
	@$(GO) test ./firmware/gatectl/screen -run '^TestPictures$$' -count=1 -pictures $(CURDIR)/docs/screens
	@$(GO) test ./firmware/panel -run '^TestScreens$$' -count=1 -screens $(CURDIR)/docs/screens
	@$(GO) test ./cardauth $(EXEC) -run '^TestDoctorSeesAnECG$$' -count=1 -screens $(CURDIR)/docs/screens

repro: build ## build the image twice, in two folders and nothing shared but downloads, and compare (about 10 minutes)
	@./image/repro.sh

N ?= 5
chaos-update: build image ## cut the power N times in the middle of updates, in QEMU (about a minute each)
	@CHAOS=$(N) $(GO) test ./image $(EXEC) -run '^$$' -bench '^BenchmarkChaosUpdate$$' -benchtime 1x -timeout 24h -v

bench-update: deps image ## what a change of one daemon costs to fetch, beside casync: build/bench/update.json
	@$(GO) test ./image $(EXEC) -run '^$$' -bench '^BenchmarkUpdate$$' -benchtime 1x -timeout 30m

BENCH_DIR ?=
export BENCH_DIR
bench-queue: deps ## durable accepts beside the disk and Orthanc: build/bench/queue.json; BENCH_DIR=a folder on the disk to measure
	@$(GO) test ./syncd -run '^$$' -bench '^BenchmarkQueue$$' -benchtime 1x -timeout 15m

chaos: build image ## cut the power of the image in QEMU N times (5) under load; FAST=1: kill -9 in a namespace
	@$(SUDO) $(LAB) chaos -n $(N) -gateway=$(if $(FAST),namespace,image)

fuzz: ## every fuzz target for FUZZTIME (10s)
	@./image/lab/fuzz.sh $(FUZZTIME)

lock: ## note the archive's current Debian packages in the image's lock file
	$(GO) run ./image lock

clean: ## remove build/
	@rm -rf build 2>/dev/null || $(SUDO) rm -rf build

.PHONY: bench-read bench-warm
bench-read: deps ## cached reads beside nginx, searches among a million resources without the EHR: build/bench/read.json
	@$(GO) test ./syncd $(EXEC) -run '^$$' -bench '^BenchmarkRead$$' -benchtime 1x -timeout 60m

bench-warm: deps ## a day of 450 patients fetched ahead over 10 Mbit/s and 80 ms: build/bench/warm.json
	@$(GO) test ./syncd $(EXEC) -run '^$$' -bench '^BenchmarkWarm$$' -benchtime 1x -timeout 90m
