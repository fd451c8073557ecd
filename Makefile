# make demo   a video chat on this machine, and a bot that plays the clips in media/ into it
# make test   everything that has to hold before a change lands
# Both install the Debian packages that are missing (as root, or with sudo).

# What `make demo` hands to the program: make demo ARGS='--headless --for 10s --json'
ARGS ?=

.PHONY: demo test clean

demo:
	@cargo xtask setup build
	@cargo build --bin telecast
	@cargo run --quiet --bin telecast -- demo $(ARGS)

test:
	@cargo xtask setup test
	@cargo xtask check

clean:
	cargo clean
