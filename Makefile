# pg_writecache: build, install, test.
#
#   make, make install       the extension, with PGXS, against $(PG_CONFIG)
#   make demo, make test     install what they need from Debian, run on a private throw-away server
#   make unit|fuzz|regress|isolation|pgtap|tap|crash|oracle|stale    one suite (ONLY=pattern picks tests of it)
#   make bench|matrix|format|lint|clean                        (bench: ONLY=core, ONLY=cache_hit_ratio … picks some)
#
# DEBUG=1 adds assertions, INJECTION=1 the test-only injection points, WERROR=1 makes warnings errors, UBSAN=1 traps on
# undefined behaviour. Every combination and PostgreSQL version has its own folder below build/, so none can mix.
#
# One file, two roles: in the source tree (where the control file is) it starts builds and tests; in a build folder
# (`make -f path/to/Makefile`, as packagers do) it is an ordinary PGXS makefile.

PG_CONFIG ?= pg_config

WARNINGS := -Wall -Wextra -Wshadow $(if $(WERROR),-Werror)
ASSERTIONS := -DPGWC_ASSERT -D_GLIBCXX_ASSERTIONS
DEPFLAGS = -MMD -MP
# V=1 shows the commands
quiet = $(if $(V),,@echo '  $(1) $(if $(2),$(2),$@)';)

ifneq ($(wildcard pg_writecache.control),)
# ---------------------------------------------------------------------------------------------------------------------
# In the source tree

.DEFAULT_GOAL := all

pg_major = $(shell '$(PG_CONFIG)' --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
variant := $(if $(DEBUG),debug,release)$(if $(INJECTION),-injection)$(if $(UBSAN),-ubsan)
pg_config_path = $(shell command -v '$(PG_CONFIG)' | sed "s|^\([^/]\)|$$PWD/\1|")

pgxs_targets := all install installdirs uninstall installcheck
.PHONY: $(pgxs_targets)
$(pgxs_targets):
	@test -n '$(pg_major)' || { echo "make: no pg_config at '$(PG_CONFIG)': install postgresql-server-dev-NN or say PG_CONFIG=/path/to/pg_config" >&2; exit 1; }
	@mkdir -p build/obj/pg$(pg_major)-$(variant)
	+@$(MAKE) --no-print-directory -C build/obj/pg$(pg_major)-$(variant) -f ../../../Makefile PG_CONFIG='$(pg_config_path)' $@

# --- the core alone: unit tests, fuzzers, benchmarks; no PostgreSQL involved ---

CLANGXX ?= clang++
core_sources := $(wildcard src/core/*.cpp src/core/*/*.cpp)
unit_sources := $(wildcard test/unit/*.cpp)
bench_sources := $(wildcard test/bench/core/*.cpp)
sim_sources := $(wildcard test/bench/cache_sim/*.cpp)
fuzzers := $(patsubst test/fuzz/%.cpp,%,$(wildcard test/fuzz/*.cpp))

core_cxxflags := -std=c++20 -g $(WARNINGS) -Isrc -Itest -pthread
flags_asan := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
# It does not model fences, and says so; where they stand, data races are allowed for.
flags_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread -Wno-tsan
flags_fuzz := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
flags_bench := -O2 -fvisibility=hidden
flags_plain := -O1

# $(1): folder below build/obj, $(2): compiler, $(3): flags
define object_rule
build/obj/$(1)/%.o: %.cpp Makefile
	@mkdir -p $$(@D)
	$$(call quiet,C++ )$(2) $(core_cxxflags) $(3) $(DEPFLAGS) -c $$< -o $$@
endef
# $(1): sanitizer
define unit_rules
$(call object_rule,unit-$(1),$$(CXX),$(ASSERTIONS) -DPGWC_INJECTION $(flags_$(1)))
build/bin/unit-$(1): $(patsubst %.cpp,build/obj/unit-$(1)/%.o,$(core_sources) $(unit_sources))
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(CXX) $(flags_$(1)) -pthread $$^ -lgtest_main -lgtest -o $$@
endef
$(foreach san,asan tsan plain,$(eval $(call unit_rules,$(san))))

$(eval $(call object_rule,fuzz,$$(CLANGXX),$(ASSERTIONS) -DPGWC_INJECTION $(flags_fuzz) -fsanitize=fuzzer-no-link))
$(addprefix build/bin/fuzz-,$(fuzzers)): build/bin/fuzz-%: build/obj/fuzz/test/fuzz/%.o $(patsubst %.cpp,build/obj/fuzz/%.o,$(core_sources))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CLANGXX) $(flags_fuzz) -fsanitize=fuzzer $^ -o $@

$(eval $(call object_rule,bench,$$(CXX),$(flags_bench)))
build/bin/bench-core: $(patsubst %.cpp,build/obj/bench/%.o,$(core_sources) $(bench_sources))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CXX) $(flags_bench) -pthread $^ -lbenchmark_main -lbenchmark -o $@

build/bin/cache-sim: $(patsubst %.cpp,build/obj/bench/%.o,$(core_sources) $(sim_sources))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CXX) $(flags_bench) -pthread $^ -o $@

.SECONDARY:
-include $(shell find build/obj/unit-* build/obj/fuzz build/obj/bench -name '*.d' 2>/dev/null)

# --- tests, demo and tools ---

.PHONY: test unit fuzz regress isolation pgtap tap crash oracle stale demo bench matrix format lint clean distclean
test unit fuzz regress isolation pgtap tap crash oracle stale:
	@test/tools/install-packages.sh test
	@test/tools/run-tests.py $@

demo:
	@test/tools/install-packages.sh demo
	@demo/run.sh

bench:
	@test/tools/install-packages.sh bench
	@test/tools/bench.sh $(ONLY)

matrix:
	@test/tools/matrix.sh

format:
	@test/tools/install-packages.sh lint
	@test/lint/format.sh --fix

lint:
	@test/tools/install-packages.sh lint
	@test/lint/run.sh

clean distclean:
	@bash -c '. test/tools/lib.sh && rm -rf "$$(state_dir)" build'

else
# ---------------------------------------------------------------------------------------------------------------------
# In a build folder: PGXS

top := $(dir $(firstword $(MAKEFILE_LIST)))
find_sources = $(patsubst $(top)%.cpp,%.o,$(wildcard $(foreach dir,$(1),$(top)$(dir)/*.cpp $(top)$(dir)/*/*.cpp)))
core_objects := $(call find_sources,src/core)
pg_objects := $(call find_sources,src/pg)

EXTENSION = pg_writecache
MODULE_big = pg_writecache
OBJS = $(core_objects) $(pg_objects)
scripts := $(wildcard $(top)sql/*--*.sql)
DATA = $(patsubst $(top)%,%,$(scripts))
REGRESS = $(patsubst $(top)sql/%.sql,%,$(filter-out $(scripts),$(wildcard $(top)sql/*.sql)))
REGRESS_OPTS = --load-extension=pg_writecache
ISOLATION = $(patsubst $(top)test/specs/%.spec,%,$(wildcard $(top)test/specs/*.spec))
ISOLATION_OPTS = --load-extension=pg_writecache --inputdir=$(top)test
SHLIB_EXPORTS = src/exports.txt
EXTRA_CLEAN = src compile.flags link.objects

# The server's headers are system headers, so that our warnings are about our code. What is not in SHLIB_EXPORTS is
# hidden by the linker; PostgreSQL 16 and later also have the compiler hide what is not marked PGDLLEXPORT, 15 marks
# nothing, so that there only the core can be compiled that way.
PG_CPPFLAGS = -isystem $(includedir_server) -I$(top)src
PG_CXXFLAGS = -std=c++20 $(WARNINGS) -Wno-register -fno-semantic-interposition \
  $(if $(DEBUG),-O1 $(ASSERTIONS)) $(if $(INJECTION),-DPGWC_INJECTION) \
  $(if $(UBSAN),-fsanitize=undefined -fno-sanitize=vptr -fsanitize-undefined-trap-on-error)

# PGXS links with the C compiler, silently without libstdc++, and its bitcode rule ignores PG_CXXFLAGS.
override COMPILER = $(CXX) $(CXXFLAGS)
override with_llvm = no

PGXS := $(shell '$(PG_CONFIG)' --pgxs)
include $(PGXS)

# The core is compiled without the server's include folders: it cannot come to depend on them unnoticed.
$(core_objects): %.o: $(top)%.cpp compile.flags
	@mkdir -p $(@D)
	$(call quiet,C++ ,$*)$(CXX) $(CXXFLAGS) -fvisibility=hidden -I$(top)src $(DEPFLAGS) -c $< -o $@
$(pg_objects): %.o: $(top)%.cpp compile.flags
	@mkdir -p $(@D)
	$(call quiet,C++ ,$*)$(CXX) $(CXXFLAGS) $(CPPFLAGS) $(DEPFLAGS) -c $< -o $@

# Other flags, another server version: compile again. Another list of objects: link again.
remember = $(shell mkdir -p src; printf '%s\n' '$(subst ','\'',$(2))' | cmp -s - $(1) || printf '%s\n' '$(subst ','\'',$(2))' > $(1))
$(call remember,compile.flags,$(VERSION) $(CXX) $(CXXFLAGS))
$(call remember,link.objects,$(OBJS))
$(shlib): link.objects
compile.flags link.objects: ;

-include $(OBJS:.o=.d)
endif
