"""From numbers to statements; knows no MRI."""
