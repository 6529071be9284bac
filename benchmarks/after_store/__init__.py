"""What comes after the store, on stores of made-up clips: seconds of the processor and memory of every step."""
